"""The demo: simulated exchanges, a platform on them, and a tenant to try it with."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from trading_platform.accounts import simulated_credentials
from trading_platform.app import Platform, open_platform
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.folder import DataFolder
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.settings import ExchangeSetting, Settings
from trading_platform.simulation.service import open_simulation
from trading_platform.tenants.model import Permission, Tenant, Tier
from trading_platform.tenants.service import TenantService

TENANT_NAME = "Demo"
KEY_FILE = "demo-api-key"


class Demo(NamedTuple):
    """A running demo and who may use it."""

    platform: Platform
    tenant: Tenant
    api_key: str


@asynccontextmanager
async def open_demo(settings: Settings, log: Any, *, speed: float = 1.0) -> AsyncIterator[Demo]:
    """Everything that `make run` starts. Simulated accounts and orders outlive a restart."""
    async with AsyncExitStack() as stack:
        folder = DataFolder(settings.data)
        stack.callback(folder.close)
        folder.refuse_if_locked()  # before the simulation would, naming its own folder
        simulation = await stack.enter_async_context(
            open_simulation(settings.data / "simulation", log, speed=speed)
        )
        exchanges = {
            exchange_id: ExchangeSetting(mode=ExchangeMode.SIMULATED, url=url)
            for exchange_id, url in simulation.urls.items()
        }
        platform = await stack.enter_async_context(
            open_platform(msgspec.structs.replace(settings, exchanges=exchanges), log)
        )
        tenant, api_key = await _demo_tenant(platform.tenants, settings.data)
        await _demo_credentials(platform, tenant.tenant_id, simulation.urls)
        yield Demo(platform, tenant, api_key)


async def _demo_tenant(tenants: TenantService, data: Path) -> tuple[Tenant, str]:
    """The demo's tenant and its key: those of the last start where its key file still works."""
    api_key = await asyncio.to_thread(_read_key, data / KEY_FILE)
    if api_key:
        try:
            caller = await tenants.authenticate(api_key)
            return await tenants.get_tenant(caller.tenant_id), api_key
        except ServiceError as error:
            if error.code != "NOT_AUTHENTICATED":
                raise
    tenant = await tenants.create_tenant(TENANT_NAME, Tier.PRO)
    _, api_key = await tenants.create_api_key(
        tenant.tenant_id, name="demo", permissions=frozenset(Permission)
    )
    await asyncio.to_thread(_write_private, data / KEY_FILE, api_key)
    return tenant, api_key


async def _demo_credentials(
    platform: Platform, tenant_id: str, exchange_ids: Iterable[ExchangeId]
) -> None:
    """Keys of simulated accounts, stored as a tenant stores real ones; what is there stays."""
    for exchange_id in exchange_ids:
        if await platform.credentials.rows.get(tenant_id, exchange_id) is None:
            keys = simulated_credentials(tenant_id, exchange_id)
            await platform.credentials.submit(tenant_id, exchange_id, keys, actor="demo")


def _read_key(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def _write_private(file: Path, text: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text + "\n")
