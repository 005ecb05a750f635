"""The `trading-platform` command: one word for each thing a person wants."""

import typer

from trading_platform.cli import kill_switch, orders, running, tenants
from trading_platform.cli.output import EXIT_CODES

app = typer.Typer(
    name="trading-platform",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A self-hosted backend through which many tenants trade on several exchanges.",
    epilog=EXIT_CODES,
)
app.command()(running.demo)
app.command()(running.serve)
app.command()(running.simulate)
app.command()(running.record)
app.command()(running.doctor)
app.add_typer(tenants.tenant_app, name="tenant")
app.add_typer(tenants.key_app, name="api-key")
app.add_typer(orders.app, name="order")
app.command()(orders.price)
app.add_typer(kill_switch.app, name="kill-switch")


def main() -> None:
    """Run the command line."""
    app()
