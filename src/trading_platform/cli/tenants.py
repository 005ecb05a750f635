"""`trading-platform tenant` and `api-key`: what the operator of this machine's records does."""

from typing import Annotated, Literal

import typer

from trading_platform.cli.options import AsJson, Data, group
from trading_platform.cli.output import refusals, say

Tier = Literal["FREE", "PRO", "ENTERPRISE"]
TENANT_COLUMNS = ("tenantId", "name", "tier", "status")
KEY_COLUMNS = ("keyId", "tenantId", "name", "apiKey")
tenant_app = group("Create and list tenants.")
key_app = group("Create API keys.")


@tenant_app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it")],
    tier: Annotated[Tier, typer.Option(help="Decides its limits", case_sensitive=False)] = "FREE",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant.

    \b
    Example:
      trading-platform tenant create "Desk 7" --tier PRO
    """
    with refusals():
        from trading_platform.cli.records import create_tenant

        say(create_tenant(data, name, tier), as_json=as_json, columns=TENANT_COLUMNS)


@tenant_app.command("list")
def list_all(data: Data = None, as_json: AsJson = False) -> None:
    """List all tenants.

    \b
    Example:
      trading-platform tenant list --json
    """
    with refusals():
        from trading_platform.cli.records import list_tenants

        say(list_tenants(data), as_json=as_json, columns=TENANT_COLUMNS, empty="No tenants yet.")


@key_app.command("create")
def create_api_key(
    tenant_id: Annotated[
        str, typer.Argument(metavar="TENANT_ID", help="As `tenant create` answered")
    ],
    name: Annotated[str, typer.Option(help="What it is for")] = "key",
    permission: Annotated[
        list[str] | None,
        typer.Option(
            help="READ, TRADE, HALT, RELEASE or ADMIN; more than one by repeating it "
            "(default: TRADE and HALT)"
        ),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key. It is shown this once; only a keyed hash of it is kept.

    \b
    Example:
      trading-platform api-key create tenant-01kb... --name "laptop" --permission TRADE
    """
    with refusals():
        from trading_platform.cli.records import create_key

        key = create_key(data, tenant_id, name, permission)
        say(key, as_json=as_json, columns=KEY_COLUMNS)
