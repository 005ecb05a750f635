"""Simulated exchanges on loopback, for clients that other people wrote."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from tests.unit.simulation.venues import a_binance_exchange, a_liquid_book
from trading_platform.kit.clock import SystemClock
from trading_platform.simulation.binance_server import BinanceServer
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import SimKey


class Binance(NamedTuple):
    """A running simulated Binance with one funded account."""

    server: BinanceServer
    exchange: SimulatedExchange
    key: SimKey


@pytest.fixture
async def binance() -> AsyncIterator[Binance]:
    exchange, key = a_binance_exchange(SystemClock())
    a_liquid_book(exchange)
    server = BinanceServer(exchange, clock=SystemClock())
    await server.start()
    yield Binance(server, exchange, key)
    await server.close()
