"""What the tenant and key commands do with the records of this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from trading_platform.kit.errors import ServiceError
from trading_platform.opening import open_tenants
from trading_platform.settings import default_data_folder
from trading_platform.tenants.model import DEFAULT_PERMISSIONS, Permission, Tenant, Tier
from trading_platform.tenants.service import TenantService

Answer = TypeVar("Answer")


def create_tenant(data: Path | None, name: str, tier: str) -> dict[str, str]:
    """A new tenant as a row."""
    return _row(_ask(data, lambda tenants: tenants.create_tenant(name, Tier(tier))))


def list_tenants(data: Path | None) -> list[dict[str, str]]:
    """All tenants as rows."""
    return [_row(tenant) for tenant in _ask(data, lambda tenants: tenants.list_tenants())]


def create_key(
    data: Path | None, tenant_id: str, name: str, permissions: Sequence[str] | None
) -> dict[str, str]:
    """A new key as a row, with its text, which is never shown again."""
    granted = [_permission(text) for text in permissions or ()] or DEFAULT_PERMISSIONS
    key, text = _ask(
        data,
        lambda tenants: tenants.create_api_key(tenant_id, name=name, permissions=granted),
    )
    return {"keyId": key.key_id, "tenantId": key.tenant_id, "name": key.name, "apiKey": text}


def _permission(text: str) -> Permission:
    try:
        return Permission(text.upper())
    except ValueError as error:
        raise ServiceError(
            f"{text!r} is no permission; choose of {', '.join(Permission)}.", "INVALID_REQUEST"
        ) from error


def _row(tenant: Tenant) -> dict[str, str]:
    return {
        "tenantId": tenant.tenant_id,
        "name": tenant.name,
        "tier": tenant.tier,
        "status": tenant.status,
    }


def _ask(data: Path | None, act: Callable[[TenantService], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with open_tenants(data or default_data_folder()) as tenants:
            return await act(tenants)

    return asyncio.run(run())
