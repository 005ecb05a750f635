"""`trading-platform audit`: check that nobody changed what was written down, and take it away."""

from pathlib import Path
from typing import Annotated

import typer

from trading_platform.cli.options import AsJson, Data, group
from trading_platform.cli.output import EXIT_REFUSED, refusals, say

COLUMNS = ("log", "ok", "entries", "reason")
app = group("Check and export the audit log.")
Log = Annotated[str, typer.Argument(metavar="LOG", help="A tenant's id, or platform")]


@app.command()
def verify(
    log: Annotated[
        str | None,
        typer.Argument(metavar="LOG", help="A tenant's id, or platform (default: every log)"),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier export of this log; all of it must still be there"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Check this export instead of the data folder")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was changed, dropped, inserted or moved.

    Whoever may write the whole data folder can still rewrite a log from its start. Keep an export
    elsewhere and compare with --against: that shows it.

    \b
    Example:
      trading-platform audit verify tenant-01kb... --against last-month.jsonl
    """
    with refusals():
        from trading_platform.cli import audit_logs

        rows = audit_logs.verify(data, log, against=against, file=file)
        say(rows, as_json=as_json, columns=COLUMNS)
        if not all(row["ok"] for row in rows):
            raise SystemExit(EXIT_REFUSED)


@app.command()
def export(log: Log, data: Data = None) -> None:
    """Print a log as JSON lines, oldest entry first.

    \b
    Example:
      trading-platform audit export tenant-01kb... > audit.jsonl
    """
    with refusals():
        from trading_platform.cli import audit_logs

        audit_logs.export(data, log)
