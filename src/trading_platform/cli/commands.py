"""The `trading-platform` command: one word for each thing a person wants.

These modules only name options, so that help comes at once; what does the work is imported by the
command that runs.
"""

from trading_platform.cli import audit, credentials, kill_switch, orders, running, secrets, tenants
from trading_platform.cli.options import group
from trading_platform.cli.output import EXIT_CODES

app = group(
    "A self-hosted backend through which many tenants trade on several exchanges.",
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
app.add_typer(credentials.app, name="credentials")
app.add_typer(audit.app, name="audit")
app.add_typer(secrets.app, name="secrets")
