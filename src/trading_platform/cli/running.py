"""`trading-platform demo`, `serve`, `simulate`, `record` and `doctor`: what runs until stopped."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trading_platform.cli.options import AsJson, Data
from trading_platform.cli.output import EXIT_INTERRUPTED, refusals, say_json, say_table
from trading_platform.settings import Settings, default_data_folder, parse_exchange

if TYPE_CHECKING:
    from trading_platform.demo import Demo

Port = Annotated[int, typer.Option(help="Port of the API; 0 takes any free one", min=0, max=65535)]
LogLevel = Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR")]


def demo(
    port: Port = 8080,
    data: Data = None,
    speed: Annotated[float, typer.Option(help="Replay this many times faster", min=0.1)] = 1.0,
    log_level: LogLevel = "WARNING",
    as_json: AsJson = False,
) -> None:
    """Start a platform with simulated exchanges and a tenant to try it with.

    Example: trading-platform demo --port 9000
    """
    settings = Settings(data=data or default_data_folder(), port=port, log_level=log_level)

    async def run(stop: asyncio.Event) -> None:
        from trading_platform.demo import open_demo
        from trading_platform.observability.logs import create_log

        log = create_log("trading-platform", level=log_level)
        async with open_demo(settings, log, speed=speed) as running:
            _introduce(running, as_json=as_json)
            await stop.wait()

    _run(run)


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
    """Run the platform. Orders go to simulated exchanges only in this version.

    Example: trading-platform serve --exchange BINANCE=PRODUCTION --exchange COINBASE=PRODUCTION
    """

    async def run(stop: asyncio.Event) -> None:
        from trading_platform.app import open_platform
        from trading_platform.observability.logs import create_log

        settings = Settings(
            data=data or default_data_folder(),
            host=host,
            port=port,
            valkey_url=valkey_url,
            exchanges=dict(parse_exchange(text) for text in exchange),
            symbols=tuple(name.strip().upper() for name in symbols.split(",")),
            log_level=log_level,
        )
        async with open_platform(
            settings, create_log("trading-platform", level=log_level)
        ) as platform:
            if as_json:
                say_json({"url": platform.url})
            else:
                print(f"The API is at {platform.url} . Ctrl-C stops it.", flush=True)
            await stop.wait()

    _run(run)


def simulate(
    data: Data = None,
    binance_port: Annotated[int, typer.Option(help="0 takes any free one")] = 9001,
    coinbase_port: Annotated[int, typer.Option(help="0 takes any free one")] = 9002,
    speed: Annotated[float, typer.Option(help="Replay this many times faster", min=0.1)] = 1.0,
    account: Annotated[str, typer.Option(help="Name of the account to show keys of")] = "demo",
    as_json: AsJson = False,
) -> None:
    """Run the simulated exchanges alone, for any client of Binance or Coinbase Exchange.

    Example: trading-platform simulate --speed 10
    """

    async def run(stop: asyncio.Event) -> None:
        from trading_platform.market.instruments import ExchangeId
        from trading_platform.simulation.credentials import simulated_keys
        from trading_platform.simulation.service import open_simulation

        folder = (data or default_data_folder()) / "simulation"
        ports = {ExchangeId.BINANCE: binance_port, ExchangeId.COINBASE: coinbase_port}
        async with open_simulation(folder, ports=ports, speed=speed) as simulation:
            keys = simulated_keys(account)
            answer = {
                **{exchange_id.lower(): url for exchange_id, url in simulation.urls.items()},
                "apiKey": keys.api_key,
                "apiSecret": keys.api_secret,
                "passphrase": keys.passphrase,
            }
            if as_json:
                say_json(answer)
            else:
                for name, value in answer.items():
                    print(f"{name:11} {value}", flush=True)
                print("Play money, replayed markets. Ctrl-C stops them.", flush=True)
            await stop.wait()

    _run(run)


def record(
    exchange: Annotated[str, typer.Argument(help="As for serve, such as BINANCE=PRODUCTION")],
    symbols: Annotated[str, typer.Argument(help="Joined by commas, such as BTC-USDT,ETH-USDT")],
    folder: Annotated[Path, typer.Option(help="Where the files go")] = Path("recordings"),
    seconds: Annotated[float, typer.Option(help="How long", min=1)] = 60.0,
) -> None:
    """Record market data of an exchange, for the simulated ones to replay.

    Example: trading-platform record BINANCE=PRODUCTION BTC-USDT --seconds 300
    """

    async def run(stop: asyncio.Event) -> None:
        from trading_platform.recording import record_market

        exchange_id, setting = parse_exchange(exchange)
        wanted = [name.strip().upper() for name in symbols.split(",")]
        summary = await record_market(exchange_id, setting, wanted, folder, seconds)
        print(f"{summary.messages} messages in {', '.join(map(str, summary.files))}", flush=True)

    _run(run)


def doctor(port: Port = 8080, data: Data = None, as_json: AsJson = False) -> None:
    """Check everything the platform stands on, and say what is wrong.

    Example: trading-platform doctor --json
    """
    from trading_platform.cli.doctor import run_examination

    findings = run_examination(data or default_data_folder(), port)
    rows = [{"check": f.what, "ok": f.ok, "detail": f.detail} for f in findings]
    if as_json:
        say_json(rows)
    else:
        shown = [{**row, "ok": "yes" if row["ok"] else "NO"} for row in rows]
        say_table(shown, ("check", "ok", "detail"), empty="")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


def _introduce(demo: "Demo", *, as_json: bool) -> None:
    url, tenant_id = demo.platform.url, demo.tenant.tenant_id
    if as_json:
        say_json({"url": url, "tenantId": tenant_id, "apiKey": demo.api_key})
        return
    print(
        f"""
Trading Platform demo: simulated Binance and Coinbase, recorded market data, play money.

  API      {url}   (healthz, readyz, openapi.json)
  tenant   {tenant_id}
  key      {demo.api_key}

Try, in another terminal:

  export KEY={demo.api_key}
  curl -s {url}/v1/prices/BTC-USD -H "Authorization: Bearer $KEY"
  curl -s {url}/v1/orders -H "Authorization: Bearer $KEY" -H "Idempotency-Key: first" \\
    -H "Content-Type: application/json" -d '{{"exchangeId": "BINANCE", "symbol": "BTC-USDT", \
"side": "BUY", "orderType": "MARKET", "quantity": "0.001"}}'
  curl -s {url}/v1/kill-switch/activate -H "Authorization: Bearer $KEY" \\
    -H "Content-Type: application/json" -d '{{"reason": "trying it"}}'

Ctrl-C stops everything.""",
        flush=True,
    )


def _run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until `main` returns or a signal asks it to; a second signal does not wait."""
    import uvloop

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main(stop))

        def on_signal() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        await task

    with refusals(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(run())
        except asyncio.CancelledError:
            print("trading-platform: stopped without waiting", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None
