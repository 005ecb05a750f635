"""Live prices in Valkey for other processes: a key `price:{symbol}` each, which lapses after 5 s,
and the channel `prices`, where every batch is one JSON array of prices and refusals. A refusal
takes the key away.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal

PRICE_TTL_S = 5
CHANNEL = "prices"
_BATCH_MAX = 500
_Command = tuple[str | bytes | int, ...]


class Commands(Protocol):
    """The part of the cache link that is used here; calls made together leave together."""

    def call(self, *args: str | bytes | int) -> Awaitable[object]: ...


class _Log(Protocol):
    def warning(self, event: str, **fields: Any) -> Any: ...


def price_key(symbol: str) -> str:
    """The key of a symbol's live price."""
    return f"price:{symbol}"


class PriceStore:
    """Writes the newest result of each symbol.

    While a write runs, newer results take the place of older ones in the next: a slow server costs
    freshness, never memory or the feed.
    """

    def __init__(self, link: Commands, log: _Log) -> None:
        self._link = link
        self._log = log
        self._waiting: dict[str, AggregatedPrice | PriceRefusal] = {}
        self._wake = asyncio.Event()
        self._encoder = msgspec.json.Encoder()
        self._failing = False
        self.replaced = 0
        self.written = 0
        self.failed = 0

    def offer(self, batch: Sequence[AggregatedPrice | PriceRefusal]) -> None:
        """Take results to write; never waits."""
        before = len(self._waiting)
        self._waiting.update((result.symbol, result) for result in batch)
        self.replaced += before + len(batch) - len(self._waiting)
        self._wake.set()

    async def run(self) -> None:
        """Write what is offered, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write all that waits now. What a failing server does not take is dropped: it would be
        stale, and the next publication brings newer.
        """
        waiting, self._waiting = list(self._waiting.values()), {}
        for start in range(0, len(waiting), _BATCH_MAX):
            await self._write(waiting[start : start + _BATCH_MAX])

    async def _write(self, batch: Sequence[AggregatedPrice | PriceRefusal]) -> None:
        texts = [self._encoder.encode(result) for result in batch]
        commands = [_keep(result, text) for result, text in zip(batch, texts, strict=True)]
        commands.append(("PUBLISH", CHANNEL, b"[" + b",".join(texts) + b"]"))
        answers = await asyncio.gather(
            *[self._link.call(*command) for command in commands], return_exceptions=True
        )
        faults = [answer for answer in answers if isinstance(answer, BaseException)]
        for fault in faults:
            if not isinstance(fault, (ServiceError, OSError, TimeoutError)):
                raise fault
        self._account(len(batch), faults)

    def _account(self, count: int, faults: Sequence[BaseException]) -> None:
        if not faults:
            self.written += count
            self._failing = False
            return
        self.failed += count
        if not self._failing:  # once an outage, not ten times a second
            self._failing = True
            self._log.warning("live prices are not written", error=repr(faults[0]))


def _keep(result: AggregatedPrice | PriceRefusal, text: bytes) -> _Command:
    key = price_key(result.symbol)
    if isinstance(result, AggregatedPrice):
        return ("SET", key, text, "EX", PRICE_TTL_S)
    return ("DEL", key)
