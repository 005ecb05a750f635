"""One symbol's book: external levels from a recording, and our own resting orders in their queue.

1. An external level is one aggregated quantity that the recording sets; what our takers take of it
   stays taken until the recording sets the level again.
2. An own order remembers how much external quantity stood before it (`ahead`). Takers consume a
   level front to back: what is ahead, the own order, what is behind it.
3. `ahead` only shrinks: by trades at that price, and when the level falls below it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, takewhile
from typing import NamedTuple

from trading_platform.market.orders import Side
from trading_platform.simulation.model import ZERO


@dataclass(slots=True)
class Resting:
    """An own order's place in a level."""

    order_id: int
    account_id: str
    remaining: Decimal
    ahead: Decimal


class Slice(NamedTuple):
    """The next quantity that a taker would meet; `order` is None for external liquidity."""

    price: Decimal
    quantity: Decimal
    order: Resting | None


class BookSide:
    """Bids or asks, best first."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._prices: list[Decimal] = []
        self._external: dict[Decimal, Decimal] = {}
        self._resting: dict[Decimal, list[Resting]] = {}

    @property
    def best(self) -> Decimal | None:
        """The best price, None when the side is empty."""
        if not self._prices:
            return None
        return self._prices[-1] if self.side is Side.BUY else self._prices[0]

    def prices(self) -> Iterator[Decimal]:
        """All prices, best first. The book must not change meanwhile."""
        return reversed(self._prices) if self.side is Side.BUY else iter(self._prices)

    def total(self, price: Decimal) -> Decimal:
        """External and own quantity at a price."""
        own = self._resting.get(price)
        external = self._external.get(price, ZERO)
        return external if not own else external + sum((r.remaining for r in own), ZERO)

    def external(self, price: Decimal) -> Decimal:
        """What the recording offers at a price and nobody took."""
        return self._external.get(price, ZERO)

    def levels(self, depth_max: int) -> list[tuple[Decimal, Decimal]]:
        """The best `depth_max` levels as (price, total quantity)."""
        return [(price, self.total(price)) for price in islice(self.prices(), depth_max)]

    def meets(self, price: Decimal, limit: Decimal | None) -> bool:
        """Whether an arriving order with this limit (None: market) trades at `price` here."""
        if limit is None:
            return True
        return price >= limit if self.side is Side.BUY else price <= limit

    def slices(self) -> Iterator[Slice]:
        """Everything a taker would meet, in price-time order."""
        for price in self.prices():
            yield from self.slices_at(price)

    def slices_at(self, price: Decimal) -> Iterator[Slice]:
        """One level front to back."""
        external, passed = self._external.get(price, ZERO), ZERO
        for order in self._resting.get(price, ()):
            if order.ahead > passed:
                yield Slice(price, min(order.ahead, external) - passed, None)
                passed = min(order.ahead, external)
            yield Slice(price, order.remaining, order)
        if external > passed:
            yield Slice(price, external - passed, None)

    def own_prices(self) -> list[Decimal]:
        """Prices at which own orders rest, best first."""
        return sorted(self._resting, reverse=self.side is Side.BUY)

    def own_at(self, price: Decimal) -> tuple[Resting, ...]:
        """Own orders at a price, oldest first."""
        return tuple(self._resting.get(price, ()))

    def external_prices_meeting(self, limit: Decimal) -> list[Decimal]:
        """External levels that cross an opposite level at `limit`."""
        return [price for price in self.prices_meeting(limit) if price in self._external]

    def prices_meeting(self, opposite: Decimal | None) -> list[Decimal]:
        """Prices here that cross the best price of the other side, best first."""
        if opposite is None:
            return []
        return list(takewhile(lambda price: self.meets(price, opposite), self.prices()))

    def set_external(self, price: Decimal, quantity: Decimal) -> None:
        """The recording's word on a level; 0 removes it."""
        if quantity > 0:
            self._external[price] = quantity
            self._keep(price)
        else:
            self._external.pop(price, None)
            self._drop_if_empty(price)
        for order in self._resting.get(price, ()):
            order.ahead = min(order.ahead, quantity)

    def load(self, levels: Mapping[Decimal, Decimal]) -> list[Decimal]:
        """Replace every external level at once; returns the prices whose quantity changed."""
        old, new = self._external, {p: q for p, q in levels.items() if q > 0}
        self._external = new
        self._prices = sorted(new.keys() | self._resting.keys())
        for price, orders in self._resting.items():
            for order in orders:
                order.ahead = min(order.ahead, new.get(price, ZERO))
        gone = [price for price in old if price not in new]
        return gone + [price for price, quantity in new.items() if old.get(price) != quantity]

    def take_external(self, price: Decimal, quantity: Decimal) -> None:
        """A taker took `quantity` from the front of the level."""
        left = self._external[price] - quantity
        self.pass_ahead(price, quantity)
        if left > 0:
            self._external[price] = left
        else:
            del self._external[price]
            self._drop_if_empty(price)

    def pass_ahead(self, price: Decimal, quantity: Decimal) -> None:
        """External quantity before our orders went away."""
        for order in self._resting.get(price, ()):
            order.ahead = max(ZERO, order.ahead - quantity)

    def rest(self, order_id: int, account_id: str, price: Decimal, remaining: Decimal) -> None:
        """An own order joins the end of the queue at its price."""
        queue = self._resting.setdefault(price, [])
        queue.append(Resting(order_id, account_id, remaining, self._external.get(price, ZERO)))
        self._keep(price)

    def set_remaining(self, order_id: int, price: Decimal, remaining: Decimal) -> None:
        """An own order shrank, or left when nothing remains; it keeps its place."""
        queue = self._resting[price]
        for index, order in enumerate(queue):
            if order.order_id == order_id:
                order.remaining = remaining
                if remaining <= 0:
                    del queue[index]
                break
        if not queue:
            del self._resting[price]
            self._drop_if_empty(price)

    def _keep(self, price: Decimal) -> None:
        index = bisect_left(self._prices, price)
        if index == len(self._prices) or self._prices[index] != price:
            insort(self._prices, price)

    def _drop_if_empty(self, price: Decimal) -> None:
        if price in self._external or price in self._resting:
            return
        index = bisect_left(self._prices, price)
        if index < len(self._prices) and self._prices[index] == price:
            del self._prices[index]


class Book:
    """Both sides of one symbol and the id of its last change."""

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)
        self.update_id = 0

    def side(self, side: Side) -> BookSide:
        """The side where orders of `side` rest."""
        return self.bids if side is Side.BUY else self.asks

    def opposite(self, side: Side) -> BookSide:
        """The side that orders of `side` take from."""
        return self.asks if side is Side.BUY else self.bids
