"""`trading-platform demo`, `serve`, `simulate`, `record` and `doctor`: what runs until stopped."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from trading_platform.cli.options import AsJson, Data
from trading_platform.cli.output import EXIT_REFUSED, refusals, say_json, say_table

SPEED_MAX = 1000.0
DAY_S = 86_400.0
Port = Annotated[int, typer.Option(help="Port of the API; 0 takes any free one", min=0, max=65535)]
ExchangePort = Annotated[int, typer.Option(help="0 takes any free one", min=0, max=65535)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    typer.Option(help="What is worth a line", case_sensitive=False),
]
Speed = Annotated[float, typer.Option(help="Replay this many times faster", min=0.1, max=SPEED_MAX)]


def demo(
    port: Port = 8080,
    data: Data = None,
    speed: Speed = 1.0,
    log_level: LogLevel = "WARNING",
    as_json: AsJson = False,
) -> None:
    """Start a platform with simulated exchanges to try it.

    It prints where the API is and a tenant's API key, as one JSON line with --json.

    \b
    Example:
      trading-platform demo --port 9000
    """
    with refusals():
        from trading_platform.cli import programs
        from trading_platform.settings import Settings, default_data_folder

        settings = Settings(data=data or default_data_folder(), port=port, log_level=log_level)
        programs.run(lambda stop: programs.demo(settings, speed, stop, as_json=as_json))


def serve(
    exchange: Annotated[
        list[str],
        typer.Option(help="BINANCE=PRODUCTION, COINBASE=SANDBOX or BINANCE=http://host:port"),
    ],
    port: Port = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    symbols: Annotated[
        str, typer.Option(help="Symbols to price, joined by commas")
    ] = "BTC-USD,BTC-USDT,ETH-USD,ETH-USDT,USDT-USD",
    valkey_url: Annotated[
        str | None,
        typer.Option(envvar="TRADING_PLATFORM_VALKEY_URL", help="Default: one of our own"),
    ] = None,
    data: Data = None,
    log_level: LogLevel = "INFO",
    as_json: AsJson = False,
) -> None:
    """Run the platform.

    Orders go out with the keys that tenants stored with `trading-platform credentials set`.

    \b
    Example:
      trading-platform serve --exchange BINANCE=PRODUCTION --exchange COINBASE=PRODUCTION
    """
    with refusals():
        from trading_platform.cli import programs
        from trading_platform.settings import (
            Settings,
            default_data_folder,
            parse_exchanges,
            parse_symbols,
        )

        settings = Settings(
            data=data or default_data_folder(),
            host=host,
            port=port,
            valkey_url=valkey_url,
            exchanges=parse_exchanges(exchange),
            symbols=parse_symbols(symbols),
            log_level=log_level,
        )
        programs.run(lambda stop: programs.serve(settings, stop, as_json=as_json))


def simulate(
    data: Data = None,
    binance_port: ExchangePort = 9001,
    coinbase_port: ExchangePort = 9002,
    speed: Speed = 1.0,
    account: Annotated[str, typer.Option(help="Name of the account to show keys of")] = "demo",
    as_json: AsJson = False,
) -> None:
    """Run the simulated exchanges alone, for other clients.

    Any client of Binance spot or Coinbase Exchange can be pointed at them.

    \b
    Example:
      trading-platform simulate --speed 10
    """
    with refusals():
        from trading_platform.cli import programs
        from trading_platform.settings import default_data_folder

        folder = (data or default_data_folder()) / "simulation"
        ports = (binance_port, coinbase_port)
        programs.run(
            lambda stop: programs.simulate(folder, ports, speed, account, stop, as_json=as_json)
        )


def record(
    exchange: Annotated[
        str,
        typer.Argument(metavar="EXCHANGE", help="As for serve, such as BINANCE=PRODUCTION"),
    ],
    symbols: Annotated[
        str,
        typer.Argument(metavar="SYMBOLS", help="Joined by commas, such as BTC-USDT,ETH-USDT"),
    ],
    folder: Annotated[Path, typer.Option(help="Where the files go")] = Path("recordings"),
    seconds: Annotated[float, typer.Option(help="How long", min=1, max=DAY_S)] = 60.0,
) -> None:
    """Record market data of an exchange, to replay it.

    What Ctrl-C cuts short is kept.

    \b
    Example:
      trading-platform record BINANCE=PRODUCTION BTC-USDT --seconds 300
    """
    with refusals():
        from trading_platform.cli import programs

        programs.run(lambda stop: programs.record(exchange, symbols, folder, seconds))


def doctor(port: Port = 8080, data: Data = None, as_json: AsJson = False) -> None:
    """Check what the platform stands on; say what is wrong.

    \b
    Example:
      trading-platform doctor --json
    """
    with refusals():
        from trading_platform.cli.doctor import run_examination
        from trading_platform.settings import default_data_folder

        findings = run_examination(data or default_data_folder(), port)
    rows = [{"check": f.what, "ok": f.ok, "detail": f.detail} for f in findings]
    if as_json:
        say_json(rows)
    else:
        shown = [{**row, "ok": "yes" if row["ok"] else "NO"} for row in rows]
        say_table(shown, ("check", "ok", "detail"), empty="")
    if not all(finding.ok for finding in findings):
        raise SystemExit(EXIT_REFUSED)
