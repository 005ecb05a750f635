"""`trading-platform credentials`: a tenant's exchange keys: store, look, rotate, revoke."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from trading_platform.cli.options import (
    DEFAULT_URL,
    AsJson,
    Data,
    KeyFile,
    Url,
    client,
    group,
)
from trading_platform.cli.output import refusals, say

Exchange = Annotated[
    Literal["BINANCE", "COINBASE"],
    typer.Argument(metavar="EXCHANGE", help="BINANCE or COINBASE", case_sensitive=False),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="The exchange's API key; it is no secret (default: asked for)"),
]
SecretFd = Annotated[
    int | None,
    typer.Option(help="File descriptor to read the API secret from (default: asked, or stdin)"),
]
PassphraseFd = Annotated[
    int | None, typer.Option(help="File descriptor to read Coinbase's passphrase from")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept")]
COLUMNS = ("exchangeId", "status", "key", "rights", "ipRestricted", "validatedAt", "problem")
app = group("Store, rotate and revoke exchange keys. A secret never stands on a command line.")
rotate_app = group("Replace a key without a gap: stage, test, switch, retire.")
app.add_typer(rotate_app, name="rotate")


@app.command("set")
def store(
    exchange: Exchange,
    key: Key = None,
    secret_fd: SecretFd = None,
    passphrase_fd: PassphraseFd = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Store the tenant's key at an exchange, after asking the exchange what the key may do.

    Keys that may withdraw or transfer are refused. Without --secret-fd the secret is asked for;
    piped in, it is read from stdin (Coinbase: the passphrase on the line after it).

    \b
    Example:
      trading-platform credentials set BINANCE --key API_KEY
      trading-platform credentials set COINBASE --key API_KEY --secret-fd 3 3< secret.txt
    """
    with refusals():
        body = _body(exchange, key, secret_fd, passphrase_fd, url)
        answer = client(url, api_key_file).call("PUT", _path(exchange), body)
        _say(answer, as_json=as_json)


@app.command()
def show(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of the key; never its secret.

    \b
    Example:
      trading-platform credentials show BINANCE
    """
    with refusals():
        _say(client(url, api_key_file).call("GET", _path(exchange)), as_json=as_json)


@app.command()
def validate(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the exchange about the stored key again; a suspended one that is fit is used again.

    \b
    Example:
      trading-platform credentials validate BINANCE
    """
    with refusals():
        answer = client(url, api_key_file).call("POST", f"{_path(exchange)}/validate")
        _say(answer, as_json=as_json)


@app.command()
def delete(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop using the key and shred it. End it at the exchange, too.

    \b
    Example:
      trading-platform credentials delete BINANCE
    """
    with refusals():
        _say(client(url, api_key_file).call("DELETE", _path(exchange)), as_json=as_json)


@app.command("revoke-all")
def revoke_all(
    reason: Reason,
    platform: Annotated[
        bool,
        typer.Option("--platform", help="Every tenant's keys, in the data folder of this machine"),
    ] = False,
    data: Data = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """For an incident: stop using and shred every exchange key of the tenant, or of all tenants.

    With --platform it works on the data folder, whether a platform runs on it or not; a running one
    follows within seconds. Cancel open orders first: without keys nobody can.

    \b
    Example:
      trading-platform credentials revoke-all --reason "a laptop was stolen"
      trading-platform credentials revoke-all --platform --reason "the server was broken into"
    """
    with refusals():
        if platform:
            from trading_platform.cli.revoking import revoke_platform

            rows: list[dict[str, Any]] = revoke_platform(data, reason)
        else:
            answer = client(url, api_key_file).call(
                "POST", "/v1/credentials/revoke-all", {"reason": reason}
            )
            rows = [_row(one) for one in answer["credentials"]]
        say(
            rows,
            as_json=as_json,
            columns=("tenantId", "exchangeId", "status", "shredded")
            if platform
            else ("exchangeId", "status", "shredded"),
            empty="There was no key to revoke.",
        )
        if not all(row["shredded"] for row in rows):
            raise SystemExit(1)


@rotate_app.command()
def stage(
    exchange: Exchange,
    key: Key = None,
    secret_fd: SecretFd = None,
    passphrase_fd: PassphraseFd = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a new key beside the one in use; nothing is signed with it yet.

    \b
    Example:
      trading-platform credentials rotate stage BINANCE --key NEW_API_KEY
    """
    with refusals():
        body = _body(exchange, key, secret_fd, passphrase_fd, url)
        answer = client(url, api_key_file).call("POST", f"{_path(exchange)}/rotation", body)
        _say(answer, as_json=as_json, which="pending")


@rotate_app.command("test")
def try_out(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the exchange what the staged key may do.

    \b
    Example:
      trading-platform credentials rotate test BINANCE
    """
    _step("test", exchange, url, api_key_file, as_json=as_json, which="pending")


@rotate_app.command()
def switch(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign with the tested key from now on; the one before is kept for a day.

    \b
    Example:
      trading-platform credentials rotate switch BINANCE
    """
    _step("switch", exchange, url, api_key_file, as_json=as_json)


@rotate_app.command()
def retire(
    exchange: Exchange,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let go of the key before this one. Then end it at the exchange.

    \b
    Example:
      trading-platform credentials rotate retire BINANCE
    """
    _step("retire", exchange, url, api_key_file, as_json=as_json)


def _step(
    name: str,
    exchange: str,
    url: str,
    key_file: Path | None,
    *,
    as_json: bool,
    which: str = "current",
) -> None:
    with refusals():
        answer = client(url, key_file).call("POST", f"{_path(exchange)}/rotation/{name}")
        _say(answer, as_json=as_json, which=which)


def _body(
    exchange: str, key: str | None, secret_fd: int | None, passphrase_fd: int | None, url: str
) -> dict[str, str]:
    from trading_platform.cli.secret_input import read_key, read_secrets, refuse_open_roads

    refuse_open_roads(url)
    api_key = read_key(key)
    secret, passphrase = read_secrets(
        secret_fd=secret_fd,
        passphrase_fd=passphrase_fd,
        with_passphrase=exchange == "COINBASE",
    )
    body = {"apiKey": api_key, "apiSecret": secret}
    return body if passphrase is None else {**body, "passphrase": passphrase}


def _path(exchange: str) -> str:
    return f"/v1/exchanges/{exchange}/credentials"


def _say(answer: dict[str, Any], *, as_json: bool, which: str = "current") -> None:
    say(answer if as_json else _row(answer, which), as_json=as_json, columns=COLUMNS)


def _row(answer: dict[str, Any], which: str = "current") -> dict[str, Any]:
    key = answer[which] or {}
    return {
        "exchangeId": answer["exchangeId"],
        "status": answer["status"],
        "key": key.get("fingerprint"),
        "rights": " ".join(key.get("rights", ())),
        "ipRestricted": key.get("ipRestricted"),
        "validatedAt": key.get("validatedAt"),
        "problem": answer["problem"],
        "shredded": answer["shredded"],
    }
