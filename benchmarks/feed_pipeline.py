"""Our side of the feed benchmark: `python -m benchmarks.feed_pipeline EXCHANGE PORT COUNT URL`.

The product's own path and nothing else: the factory's stream -> dialect -> sources -> aggregation
-> coalesced publication, to the Valkey at URL or, for "-", to a callback. Every message must have
been taken and every symbol must have a price at the end. Prints one JSON object.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import uvloop

from benchmarks.feed_messages import BASES
from benchmarks.feed_stopwatch import PATHS, measure
from trading_platform.cache.link import Link
from trading_platform.exchanges.endpoints import Endpoints
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.quotes import AggregatedPrice
from trading_platform.prices.board import PriceResult
from trading_platform.prices.feeds import MarketStream, PriceFeedManager
from trading_platform.prices.model import PricePolicy
from trading_platform.prices.sink import ExchangeSink
from trading_platform.prices.store import PriceStore
from trading_platform.secrets.model import ExchangeCredentials

_QUOTES = {"binance": "USDT", "coinbase": "USD"}


class Log:
    """What the product warns of belongs on the error stream."""

    def info(self, event: str, **fields: Any) -> None:
        """Nothing."""

    def warning(self, event: str, **fields: Any) -> None:
        """Print it."""
        print(event, fields, file=sys.stderr)

    error = warning


class NoCredentials:
    """Market data needs none."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        """Refuse."""
        raise ServiceError("There are no accounts in this benchmark.", "NOT_FOUND")


class Streams:
    """The factory's streams; instruments without a REST call."""

    def __init__(self, exchange: str, port: int) -> None:
        self.sinks: list[ExchangeSink] = []
        self._exchange = exchange
        nowhere = "http://127.0.0.1:1"
        replay = Endpoints(
            rest=nowhere, market_ws=f"ws://127.0.0.1:{port}{PATHS[exchange]}", user_ws=nowhere
        )
        exchange_id = ExchangeId(exchange.upper())
        self._factory = ExchangeFactory(
            {exchange_id: replay}, NoCredentials(), SystemClock(), Log()
        )

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]:
        """The 50 symbols of the replay."""
        quote = _QUOTES[self._exchange]
        return {f"{base}-{quote}": _instrument(exchange_id, base, quote) for base in BASES}

    def market_stream(
        self, exchange_id: ExchangeId, exchange_symbols: Sequence[str], sink: ExchangeSink
    ) -> MarketStream:
        """As the factory makes it."""
        self.sinks.append(sink)
        return self._factory.market_stream(exchange_id, exchange_symbols, sink)


def _instrument(exchange_id: ExchangeId, base: str, quote: str) -> Instrument:
    joint = "" if exchange_id is ExchangeId.BINANCE else "-"
    return Instrument(
        exchange_id=exchange_id,
        symbol=f"{base}-{quote}",
        exchange_symbol=f"{base}{joint}{quote}",
        base=base,
        quote=quote,
        price_increment=Decimal("0.01"),
        quantity_increment=Decimal("0.00001"),
    )


class Callback:
    """Publication without a server."""

    written = 0

    def offer(self, batch: Sequence[PriceResult]) -> None:
        """Count."""
        self.written += len(batch)


async def run(exchange: str, port: int, count: int, url: str) -> dict[str, float]:
    """Take `count` messages through the product."""
    log = Log()
    supervisor, streams = Supervisor(log), Streams(exchange, port)
    link = Link(url) if url != "-" else None
    publisher: PriceStore | Callback = Callback()
    if link is not None:
        publisher = PriceStore(link, log)
        supervisor.start("price store", publisher.run)
    exchange_id = ExchangeId(exchange.upper())
    symbols = list(await streams.instruments(exchange_id))
    policies = {symbol: PricePolicy(symbol=symbol, sources_min=1) for symbol in symbols}
    manager = PriceFeedManager(streams, publisher, supervisor, SystemClock(), policies, log=log)
    await manager.start_feed(exchange_id, symbols)
    (sink,) = streams.sinks
    result = await measure(lambda: sink.messages, count)
    await asyncio.sleep(0.25)  # the last publication
    (status,) = manager.feeds()
    assert (status.messages, status.refused, status.missed_trades) == (count, 0, 0), status
    latest = [manager.latest(symbol) for symbol in symbols]
    assert all(isinstance(price, AggregatedPrice) for price in latest), latest[0]
    await manager.close()
    await supervisor.close()
    if link is not None:
        await link.close()
    assert publisher.written >= len(symbols)
    return result | {"published": publisher.written}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))))
