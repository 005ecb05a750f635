"""Runs the feeds and hands out their prices: streams in, subscribers and the publisher out."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.prices.board import PriceBoard, PriceResult
from trading_platform.prices.model import FeedStatus, PricePolicy
from trading_platform.prices.sink import ExchangeSink
from trading_platform.prices.source import Source

PriceCallback = Callable[[PriceResult], None]
_LOOP = "price publication"
_ALIVE_MAX_NS = 5_000_000_000


class MarketStream(Protocol):
    """One exchange's market data connection, reconnected for ever."""

    def run(self) -> Coroutine[Any, Any, None]: ...


class Streams(Protocol):
    """Where feeds come from."""

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]: ...

    def market_stream(
        self, exchange_id: ExchangeId, exchange_symbols: Sequence[str], sink: ExchangeSink
    ) -> MarketStream: ...


class Publisher(Protocol):
    """Who else is told; must take a batch at once and never wait."""

    def offer(self, batch: Sequence[PriceResult]) -> None: ...


class _Log(Protocol):
    def info(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


class SubscriptionHandle(msgspec.Struct, frozen=True):
    """What `unsubscribe` takes back."""

    symbol: str
    number: int


class _Feed(msgspec.Struct):
    sink: ExchangeSink
    sources: dict[str, Source]
    """By exchange symbol."""


class PriceFeedManager:
    """One feed an exchange; every `interval_s` what changed is made a price and handed out.

    Callbacks take a price or a refusal, run on the event loop and must be quick; one that raises is
    logged and hinders nobody. A refusal is handed out once, when its reason is new.
    """

    def __init__(
        self,
        streams: Streams,
        publisher: Publisher,
        supervisor: Supervisor,
        clock: Clock,
        policies: Mapping[str, PricePolicy],
        *,
        log: _Log,
        interval_s: float = 0.1,
        sweep_s: float = 1.0,
    ) -> None:
        """`sweep_s` is how often also the silent symbols are looked at."""
        self._streams = streams
        self._publisher = publisher
        self._supervisor = supervisor
        self._clock = clock
        self._log = log
        self._interval_s = interval_s
        self._sweep_s = sweep_s
        self._board = PriceBoard(policies)
        self._feeds: dict[ExchangeId, _Feed] = {}
        self._callbacks: dict[str, dict[int, PriceCallback]] = {}
        self._subscriptions = 0
        self._told: dict[str, str] = {}
        self._swept_at = 0.0
        self._publishing = False

    async def start_feed(self, exchange_id: ExchangeId, symbols: Iterable[str]) -> None:
        """Stream these symbols of an exchange, besides those it streams already."""
        wanted = set(symbols)
        instruments = await self._streams.instruments(exchange_id)
        unknown = sorted(wanted - set(instruments))
        if unknown:
            raise ServiceError(
                f"{exchange_id} does not list {', '.join(unknown)[:200]}; leave it out.",
                "INVALID_REQUEST",
            )
        sources = dict(self._feeds[exchange_id].sources) if exchange_id in self._feeds else {}
        known = {source.symbol for source in sources.values()}
        if exchange_id in self._feeds and wanted <= known:
            return
        for symbol in sorted(wanted - known):
            instrument = instruments[symbol]
            source = Source(exchange_id, symbol, synthetic=instrument.synthetic)
            sources[instrument.exchange_symbol] = source
        await self.stop_feed(exchange_id)
        self._start(exchange_id, sources)

    async def stop_feed(self, exchange_id: ExchangeId) -> None:
        """Stop streaming an exchange; its symbols go with it. One that does not run is ignored."""
        await self._supervisor.stop(_feed_name(exchange_id))
        self._feeds.pop(exchange_id, None)
        self._board.drop_feed(exchange_id)

    async def close(self) -> None:
        """Stop all feeds and the publication."""
        for exchange_id in list(self._feeds):
            await self.stop_feed(exchange_id)
        await self._supervisor.stop(_LOOP)
        self._publishing = False

    async def subscribe(self, symbol: str, callback: PriceCallback) -> SubscriptionHandle:
        """Call `callback` with each new price or refusal of a symbol."""
        self._subscriptions += 1
        handle = SubscriptionHandle(symbol, self._subscriptions)
        self._callbacks.setdefault(symbol, {})[handle.number] = callback
        return handle

    async def unsubscribe(self, handle: SubscriptionHandle) -> None:
        """End a subscription; twice does no harm."""
        callbacks = self._callbacks.get(handle.symbol, {})
        callbacks.pop(handle.number, None)
        if not callbacks:
            self._callbacks.pop(handle.symbol, None)

    async def get_latest_price(self, symbol: str) -> AggregatedPrice:
        """The price as of now; PRICE_UNAVAILABLE with the refusal in the metadata, or NOT_FOUND."""
        result = self.latest(symbol)
        if isinstance(result, PriceRefusal):
            raise ServiceError(
                f"There is no trusted price of {symbol} now: {result.reason}.",
                "PRICE_UNAVAILABLE",
                metadata={"refusal": msgspec.to_builtins(result)},
            )
        return result

    def latest(self, symbol: str) -> PriceResult:
        """The price or refusal as of now; NOT_FOUND for a symbol that no feed carries."""
        result = self._board.latest(symbol, self._clock.time_ns())
        if result is None:
            raise ServiceError(f"No feed carries {symbol[:40]!r}.", "NOT_FOUND")
        return result

    def symbols(self) -> list[str]:
        """The symbols that feeds carry, sorted."""
        return self._board.symbols()

    def feeds(self) -> list[FeedStatus]:
        """How each feed is doing."""
        now_ns = self._clock.time_ns()
        return [self._status(exchange_id, now_ns) for exchange_id in sorted(self._feeds)]

    def publish_due(self) -> int:
        """Make and hand out what is new; the number of results handed to the publisher."""
        now_s = self._clock.monotonic()
        everything = now_s - self._swept_at >= self._sweep_s
        if everything:
            self._swept_at = now_s
        results = self._board.refresh(self._clock.time_ns(), everything=everything)
        batch = [result for result in results if self._is_news(result)]
        if batch:
            self._publisher.offer(batch)
            for result in batch:
                self._tell(result)
        return len(batch)

    def _start(self, exchange_id: ExchangeId, sources: dict[str, Source]) -> None:
        loop = asyncio.get_running_loop()
        sink = ExchangeSink(sources, self._clock.time_ns, loop.call_soon)
        self._feeds[exchange_id] = _Feed(sink, sources)
        self._board.put_feed(exchange_id, sink, list(sources.values()))
        stream = self._streams.market_stream(exchange_id, sorted(sources), sink)
        self._supervisor.start(_feed_name(exchange_id), stream.run)
        if not self._publishing:
            self._publishing = True
            self._supervisor.start(_LOOP, self._publish)

    async def _publish(self) -> None:
        while True:
            await self._clock.sleep(self._interval_s)
            self.publish_due()

    def _is_news(self, result: PriceResult) -> bool:
        """Prices always; a refusal once a reason."""
        if isinstance(result, AggregatedPrice):
            self._told.pop(result.symbol, None)
            return True
        if self._told.get(result.symbol) == result.reason:
            return False
        self._told[result.symbol] = result.reason
        return True

    def _tell(self, result: PriceResult) -> None:
        for callback in list(self._callbacks.get(result.symbol, {}).values()):
            try:
                callback(result)
            except Exception as error:  # foreign code: its fault must not stop the others
                self._log.error(
                    "price subscriber failed",
                    symbol=result.symbol,
                    error=repr(error),
                    exc_info=error,
                )

    def _status(self, exchange_id: ExchangeId, now_ns: int) -> FeedStatus:
        feed = self._feeds[exchange_id]
        alive_ns = feed.sink.alive_ns()
        sources = feed.sources.values()
        return FeedStatus(
            exchange_id=exchange_id,
            connected=bool(alive_ns) and now_ns - alive_ns <= _ALIVE_MAX_NS,
            symbols=len(feed.sources),
            messages=feed.sink.messages,
            gaps=feed.sink.gaps,
            gap_reason=feed.sink.gap_reason,
            missed_trades=sum(source.missed_trades for source in sources),
            refused=sum(source.refused for source in sources),
            age_ms=(now_ns - alive_ns) // 1_000_000 if alive_ns else None,
            clock_offset_ms=feed.sink.offset_ns(now_ns) / 1e6,
        )


def _feed_name(exchange_id: ExchangeId) -> str:
    return f"market feed {exchange_id}"
