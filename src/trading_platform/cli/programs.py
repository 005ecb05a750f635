"""What `demo`, `serve`, `simulate` and `record` do until Ctrl-C."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from trading_platform.app import open_platform
from trading_platform.cli.output import EXIT_INTERRUPTED, say_json
from trading_platform.demo import Demo, open_demo
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.observability.logs import adopt_library_logs, create_log
from trading_platform.settings import Settings, parse_exchange, parse_symbols
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.simulation.service import Simulation, open_simulation

SERVICE = "trading-platform"


class Stop:
    """Ctrl-C or SIGTERM. Before the program is up, or asked twice, it is not waited for."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._up = False

    async def wait(self) -> None:
        """Say that the program is up, and wait until it is asked to stop."""
        self._up = True
        # What a start made stays: leave it out of every later collection.
        gc.freeze()
        await self._asked.wait()

    def ask(self) -> bool:
        """Ask it to stop; whether that can be left to the program."""
        gently = self._up and not self._asked.is_set()
        self._asked.set()
        return gently


async def demo(settings: Settings, speed: float, stop: Stop, *, as_json: bool) -> None:
    """Everything on this machine."""
    log = create_log(SERVICE, level=settings.log_level)
    adopt_library_logs(log)
    async with open_demo(settings, log, speed=speed) as running:
        _introduce(running, as_json=as_json)
        await stop.wait()


async def serve(settings: Settings, stop: Stop, *, as_json: bool) -> None:
    """The platform alone."""
    log = create_log(SERVICE, level=settings.log_level)
    adopt_library_logs(log)
    async with open_platform(settings, log) as platform:
        if as_json:
            say_json({"url": platform.url})
        else:
            print(f"The API is at {platform.url} . Ctrl-C stops it.", flush=True)
        await stop.wait()


async def simulate(
    folder: Path, ports: tuple[int, int], speed: float, account: str, stop: Stop, *, as_json: bool
) -> None:
    """The simulated exchanges alone; `ports` of Binance and Coinbase."""
    log = create_log("simulation", level="WARNING")
    adopt_library_logs(log)
    if not account.strip():
        raise ServiceError("--account is empty; give any name, such as demo.", "INVALID_REQUEST")
    binance, coinbase = ports
    wanted = {ExchangeId.BINANCE: binance, ExchangeId.COINBASE: coinbase}
    async with open_simulation(folder, log, ports=wanted, speed=speed) as simulation:
        answer = _simulated(simulation, account)
        if as_json:
            say_json(answer)
        else:
            for name, value in answer.items():
                print(f"{name:11} {value}", flush=True)
            print("Play money, replayed markets. Ctrl-C stops them.", flush=True)
        await stop.wait()


def _simulated(simulation: Simulation, account: str) -> dict[str, str]:
    keys = simulated_keys(account)
    return {
        **{exchange_id.lower(): url for exchange_id, url in simulation.urls.items()},
        "apiKey": keys.api_key,
        "apiSecret": keys.api_secret,
        "passphrase": keys.passphrase,
    }


async def record(exchange: str, symbols: str, folder: Path, seconds: float) -> None:
    """Market data of one exchange into files."""
    from trading_platform.recording import record_market  # the others start faster without it

    exchange_id, setting = parse_exchange(exchange)
    wanted = parse_symbols(symbols)
    summary = await record_market(exchange_id, setting, wanted, folder, seconds)
    print(f"{summary.messages} messages in {', '.join(map(str, summary.files))}", flush=True)


def run(main: Callable[[Stop], Awaitable[None]]) -> None:
    """Run until `main` returns or a signal asks it to; a second signal does not wait."""

    async def watched() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main(stop))

        def on_signal() -> None:
            if not stop.ask():
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        await task

    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(watched())
        except asyncio.CancelledError:
            print("trading-platform: interrupted", file=sys.stderr)
            raise SystemExit(EXIT_INTERRUPTED) from None


def _introduce(demo: Demo, *, as_json: bool) -> None:
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
