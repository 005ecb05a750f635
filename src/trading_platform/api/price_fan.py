"""One subscription a symbol for all readers: a price is encoded once, however many hear it."""

import asyncio
from typing import Any

from trading_platform.api.outbox import Outbox
from trading_platform.api.ports import Prices
from trading_platform.api.stream_messages import price_message
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal


class PriceFan:
    """Hands the prices of a symbol to the outboxes that want it."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._changing = asyncio.Lock()
        self._handles: dict[str, Any] = {}
        self._readers: dict[str, set[Outbox]] = {}

    async def attach(self, symbol: str, outbox: Outbox) -> None:
        """Put the present price into `outbox`, then every new one."""
        async with self._changing:
            self._readers.setdefault(symbol, set()).add(outbox)
            if symbol not in self._handles:
                self._handles[symbol] = await self._prices.subscribe(symbol, self._hand_out)
        outbox.price(symbol, price_message(self._prices.latest(symbol)))

    async def detach(self, symbol: str, outbox: Outbox) -> None:
        """Stop; the last one who leaves ends the subscription."""
        async with self._changing:
            readers = self._readers.get(symbol, set())
            readers.discard(outbox)
            outbox.forget_price(symbol)
            if not readers:
                self._readers.pop(symbol, None)
                handle = self._handles.pop(symbol, None)
                if handle is not None:
                    await self._prices.unsubscribe(handle)

    def _hand_out(self, price: AggregatedPrice | PriceRefusal) -> None:
        message = price_message(price)
        for outbox in self._readers.get(price.symbol, ()):
            outbox.price(price.symbol, message)
