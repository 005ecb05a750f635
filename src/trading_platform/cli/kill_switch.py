"""`trading-platform kill-switch`: stop a tenant's trading at once, and let it trade again."""

from typing import Annotated

import typer

from trading_platform.cli.options import DEFAULT_URL, AsJson, KeyFile, Url, client, group
from trading_platform.cli.output import refusals, say

COLUMNS = ("scope", "active", "epoch", "reason", "actor", "changedAt")
app = group("Stop trading at once; let it go on again.")


@app.command()
def activate(
    reason: Annotated[str, typer.Option(help="Why; it is kept")],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop all new orders of the tenant. Cancels still pass.

    \b
    Example:
      trading-platform kill-switch activate --reason "strategy runs wild"
    """
    with refusals():
        state = client(url, api_key_file).call(
            "POST", "/v1/kill-switch/activate", {"reason": reason}
        )
        say(state, as_json=as_json, columns=COLUMNS)


@app.command()
def release(
    reason: Annotated[str, typer.Option(help="Why it is safe again; it is kept")],
    epoch: Annotated[int, typer.Option(help="The epoch that status shows")],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the tenant trade again, if nobody activated the switch anew since that epoch.

    \b
    Example:
      trading-platform kill-switch release --epoch 1 --reason "fixed and reviewed"
    """
    with refusals():
        state = client(url, api_key_file).call(
            "POST", "/v1/kill-switch/release", {"epoch": epoch, "reason": reason}
        )
        say(state, as_json=as_json, columns=COLUMNS)


@app.command()
def status(url: Url = DEFAULT_URL, api_key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Every switch that bears on the tenant.

    \b
    Example:
      trading-platform kill-switch status
    """
    with refusals():
        answer = client(url, api_key_file).call("GET", "/v1/kill-switch")
        say(answer["switches"], as_json=as_json, columns=COLUMNS, empty="No switch was ever used.")
