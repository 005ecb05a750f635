"""`trading-platform tenant` and `api-key`: what the operator of this machine's records does."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from trading_platform.cli.options import AsJson, Data
from trading_platform.cli.output import refusals, say
from trading_platform.settings import default_data_folder
from trading_platform.tenants.model import DEFAULT_PERMISSIONS, Permission, Tier
from trading_platform.tenants.service import TenantService

Answer = TypeVar("Answer")
tenant_app = typer.Typer(no_args_is_help=True, help="Create and list tenants.")
key_app = typer.Typer(no_args_is_help=True, help="Create API keys.")


@tenant_app.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="What people call it")],
    tier: Annotated[Tier, typer.Option(help="Decides its limits")] = Tier.FREE,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant.

    Example: trading-platform tenant create "Desk 7" --tier PRO
    """
    with refusals():
        tenant = _with_tenants(data, lambda tenants: tenants.create_tenant(name, tier))
        say(
            {"tenantId": tenant.tenant_id, "name": tenant.name, "tier": tenant.tier},
            as_json=as_json,
            columns=("tenantId", "name", "tier"),
        )


@tenant_app.command("list")
def list_tenants(data: Data = None, as_json: AsJson = False) -> None:
    """List all tenants.

    Example: trading-platform tenant list --json
    """
    with refusals():
        tenants = _with_tenants(data, lambda service: service.list_tenants())
        rows = [
            {
                "tenantId": tenant.tenant_id,
                "name": tenant.name,
                "tier": tenant.tier,
                "status": tenant.status,
            }
            for tenant in tenants
        ]
        say(rows, as_json=as_json, columns=("tenantId", "name", "tier", "status"))


@key_app.command("create")
def create_key(
    tenant_id: Annotated[str, typer.Argument(help="As `tenant create` answered")],
    name: Annotated[str, typer.Option(help="What it is for")] = "key",
    permission: Annotated[
        list[Permission] | None,
        typer.Option(help="May be given more than once (default: TRADE and HALT)"),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key. It is shown this once; only a keyed hash of it is kept.

    Example: trading-platform api-key create tenant-01kb... --name "laptop" --permission TRADE
    """
    with refusals():
        key, text = _with_tenants(
            data,
            lambda tenants: tenants.create_api_key(
                tenant_id, name=name, permissions=permission or DEFAULT_PERMISSIONS
            ),
        )
        say(
            {"keyId": key.key_id, "tenantId": key.tenant_id, "name": key.name, "apiKey": text},
            as_json=as_json,
            columns=("keyId", "tenantId", "name", "apiKey"),
        )


def _with_tenants(data: Path | None, act: Callable[[TenantService], Awaitable[Answer]]) -> Answer:
    from trading_platform.app import open_tenants

    async def run() -> Answer:
        async with open_tenants(data or default_data_folder()) as tenants:
            return await act(tenants)

    return asyncio.run(run())
