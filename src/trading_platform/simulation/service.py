"""The simulated exchanges as one thing to start: cores, journals, servers and the market replay."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.folder import DataFolder
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.instruments import ExchangeId
from trading_platform.simulation.binance_server import BinanceServer
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.credentials import OPENING_BALANCES, PREFIX, keys_of
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.gate import Gate
from trading_platform.simulation.journal import Journal
from trading_platform.simulation.market import MarketReplay, default_exchanges, default_sources
from trading_platform.simulation.model import SimKey

_OPENERS = {ExchangeId.BINANCE: BinanceServer, ExchangeId.COINBASE: CoinbaseServer}


class Simulation:
    """What runs, and where each exchange listens."""

    def __init__(
        self,
        urls: Mapping[ExchangeId, str],
        exchanges: Mapping[ExchangeId, SimulatedExchange],
        replay: MarketReplay,
        gates: Mapping[ExchangeId, Gate],
    ) -> None:
        """`gates` is where faults are armed."""
        self.urls = urls
        self.exchanges = exchanges
        self.replay = replay
        self.gates = gates


class _OpenExchange(SimulatedExchange):
    """Opens a funded account for whoever comes with a key made by `simulated_keys`."""

    def key(self, api_key: str) -> SimKey | None:
        known = super().key(api_key)
        if known is not None or not api_key.startswith(PREFIX):
            return known
        keys = keys_of(api_key)
        listed = {name for i in self.instruments.values() for name in (i.base, i.quote)}
        return self.open_account(
            keys.api_key,
            keys.api_secret,
            keys.passphrase,
            {name: amount for name, amount in OPENING_BALANCES.items() if name in listed},
        )


@asynccontextmanager
async def open_simulation(
    folder: Path,
    log: Any,
    *,
    ports: Mapping[ExchangeId, int] | None = None,
    speed: float = 1.0,
    seed: int = 1,
) -> AsyncIterator[Simulation]:
    """Both exchanges on loopback, their accounts kept in `folder`; port 0 (default) takes any.

    Raises UNUSABLE_DATA when other simulated exchanges use the folder: a journal has one writer.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        owned = DataFolder(folder)
        stack.callback(owned.close)
        owned.lock()
        journals = {exchange_id: _journal(exchange_id, folder, stack) for exchange_id in ExchangeId}
        exchanges = default_exchanges(clock, journals, _OpenExchange)
        replay = MarketReplay(exchanges, default_sources(seed), clock, speed)
        replay.prime()
        urls, gates = {}, {}
        for exchange_id, server_type in _OPENERS.items():
            port = (ports or {}).get(exchange_id, 0)
            server = server_type(exchanges[exchange_id], host="127.0.0.1", port=port, clock=clock)
            await _listen(server, exchange_id, port)
            stack.push_async_callback(server.close)
            urls[exchange_id], gates[exchange_id] = server.url, server.gate
        supervisor = Supervisor(log)
        stack.push_async_callback(supervisor.close)
        supervisor.start("market replay", replay.run)
        yield Simulation(urls, exchanges, replay, gates)


def _journal(exchange_id: ExchangeId, folder: Path, stack: AsyncExitStack) -> Journal:
    journal = Journal(folder / f"{exchange_id.lower()}.jsonl")
    stack.callback(journal.close)
    return journal


async def _listen(
    server: BinanceServer | CoinbaseServer, exchange_id: ExchangeId, port: int
) -> None:
    try:
        await server.start()
    except OSError as error:
        await server.close()
        raise ServiceError(
            f"port {port} on 127.0.0.1 cannot be used for the simulated {exchange_id} "
            f"({os.strerror(error.errno or 0)}). Choose another with "
            f"--{exchange_id.lower()}-port; 0 takes any free one.",
            "UNUSABLE_DATA",
        ) from error
