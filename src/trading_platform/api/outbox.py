"""What waits for one reader of the stream. Pure, and bounded whatever the reader does.

1. Of prices and orders only the newest of each symbol and order waits; what it replaced is counted.
2. Replies and snapshots keep their order.
3. When there is no room left, `overflowed` is true and the reader is let go.
"""

import asyncio

import msgspec

NOTES_MAX = 200
ORDERS_MAX = 1000
ORDERS_A_FRAME = 200


class Skipped(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="skipped", tag_field="type"
):
    """How many updates the reader was spared because newer ones replaced them."""

    prices: int
    orders: int


class Outbox:
    """Messages as encoded JSON; `take` joins them into one frame, a JSON array."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.overflowed = False
        self.skipped_total = 0
        self._notes: list[bytes] = []
        self._prices: dict[str, bytes] = {}
        self._orders: dict[str, bytes] = {}
        self._skipped_prices = 0
        self._skipped_orders = 0

    def note(self, message: bytes) -> None:
        """A reply or a snapshot."""
        if len(self._notes) >= NOTES_MAX:
            self.overflowed = True
        else:
            self._notes.append(message)
        self.ready.set()

    def price(self, symbol: str, message: bytes) -> None:
        """The newest price of `symbol`."""
        self._skipped_prices += symbol in self._prices
        self._prices[symbol] = message
        self.ready.set()

    def order(self, order_id: str, message: bytes) -> None:
        """The newest state of an order."""
        self._skipped_orders += order_id in self._orders
        if len(self._orders) >= ORDERS_MAX and order_id not in self._orders:
            self.overflowed = True
        else:
            self._orders[order_id] = message
        self.ready.set()

    def forget_price(self, symbol: str) -> None:
        """The reader no longer wants `symbol`."""
        self._prices.pop(symbol, None)

    def take(self) -> bytes:
        """One frame of what waits; `ready` stays set when there is more."""
        parts, self._notes = self._notes, []
        if self._skipped_prices or self._skipped_orders:
            self.skipped_total += self._skipped_prices + self._skipped_orders
            skipped = Skipped(prices=self._skipped_prices, orders=self._skipped_orders)
            parts.append(msgspec.json.encode(skipped))
            self._skipped_prices = self._skipped_orders = 0
        parts.extend(self._prices.values())
        self._prices.clear()
        for order_id in list(self._orders)[:ORDERS_A_FRAME]:
            parts.append(self._orders.pop(order_id))
        if not self._orders:
            self.ready.clear()
        return b"[" + b",".join(parts) + b"]"
