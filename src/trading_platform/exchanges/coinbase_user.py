"""Coinbase Exchange's authenticated `user` channel (websocket-feed/channels). Pure.

1. A match tells a fee rate, not a fee: reports carry totals and no fills. The manager reads fills
   from /fills, so that nothing can be counted from two sources.
2. Totals are summed only for orders whose `received` came on this very connection, because no
   message tells how much was filled before. Of an older order the sink is told that there is
   something to ask: the channel is no evidence then, REST is.
3. Authenticated messages do not advance `sequence`: a lost one cannot be seen here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from trading_platform.exchanges.ports import AccountSink
from trading_platform.exchanges.reading import finite, try_read
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import OrderReport, OrderStatus

ORDERS_MAX = 10_000
# "101:Time In Force", 104 price bound, 106 insufficient liquidity: the engine ended it by itself.
_ENDED_BY_ITSELF = frozenset({"101", "104", "106"})


class UserMessage(msgspec.Struct, frozen=True):
    """received, open, match, done, change and activate in one."""

    type: str
    product_id: str = ""
    time: datetime | None = None
    order_id: str = ""
    maker_order_id: str = ""
    taker_order_id: str = ""
    client_oid: str | None = None
    size: Decimal | None = None
    price: Decimal | None = None
    order_type: str = ""
    remaining_size: Decimal | None = None
    new_size: Decimal | None = None
    reason: str = ""
    cancel_reason: int | str | None = None
    trade_id: int = 0
    message: str = ""


class _Known(msgspec.Struct):
    """An order whose whole life this connection has seen."""

    client_order_id: str | None
    size: Decimal | None
    market: bool
    filled: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)
    last_trade_id: int = 0


_MESSAGE = msgspec.json.Decoder(UserMessage)


class CoinbaseUser:
    """UserDialect of Coinbase Exchange."""

    exchange_id = ExchangeId.COINBASE

    def __init__(self) -> None:
        self.unknown = 0
        self.garbage = 0
        self.leaving: str | None = None
        self.refused: str | None = None
        self._known: dict[str, _Known] = {}

    def login(
        self, fields: Mapping[str, str | int], exchange_symbols: Sequence[str]
    ) -> Sequence[bytes]:
        request = {
            "type": "subscribe",
            "product_ids": list(exchange_symbols),
            # One product's heartbeat is enough to know that the connection lives.
            "channels": ["user", {"name": "heartbeat", "product_ids": list(exchange_symbols[:1])}],
            **fields,
        }
        return [msgspec.json.encode(request)]

    def decode(self, frame: bytes, sink: AccountSink) -> None:
        it = try_read(_MESSAGE, frame)
        if it is None:
            self.garbage += 1
            return
        match it.type:
            case "received":
                self._received(it, sink)
            case "match":
                self._matched(it, sink)
            case "done":
                self._done(it, sink)
            case "open":
                self._reported(it.order_id, it, sink)
            case "change":
                self._changed(it)
            case "error":
                self.refused = f"{it.message} {it.reason}".strip()[:200]
            case "heartbeat" | "subscriptions" | "activate":
                pass
            case _:
                self.unknown += 1

    def _received(self, it: UserMessage, sink: AccountSink) -> None:
        if len(self._known) >= ORDERS_MAX:
            del self._known[next(iter(self._known))]
        self._known[it.order_id] = _Known(it.client_oid, finite(it.size), it.order_type == "market")
        self._reported(it.order_id, it, sink)

    def _matched(self, it: UserMessage, sink: AccountSink) -> None:
        ours = [name for name in (it.maker_order_id, it.taker_order_id) if name in self._known]
        size, price = finite(it.size), finite(it.price)
        if not ours or size is None or price is None:
            sink.on_gap(f"a fill on {it.product_id} of an order older than this connection")
            return
        for name in ours:
            known = self._known[name]
            if it.trade_id <= known.last_trade_id:
                continue
            known.last_trade_id = it.trade_id
            known.filled += size
            known.notional += size * price
            self._reported(name, it, sink)

    def _done(self, it: UserMessage, sink: AccountSink) -> None:
        known = self._known.pop(it.order_id, None)
        if known is None or not _adds_up(known, it):
            sink.on_gap(f"the end of an order on {it.product_id} that was not wholly seen")
            return
        if it.reason == "filled":
            status = OrderStatus.FILLED
        elif known.market or str(it.cancel_reason)[:3] in _ENDED_BY_ITSELF:
            status = OrderStatus.EXPIRED
        else:
            status = OrderStatus.CANCELED
        sink.on_order_report(_report(it.order_id, known, it, status))

    def _changed(self, it: UserMessage) -> None:
        known = self._known.get(it.order_id)
        if known is not None:
            known.size = None  # what `new_size` counts from is not said: no sum is checked any more

    def _reported(self, order_id: str, it: UserMessage, sink: AccountSink) -> None:
        known = self._known.get(order_id)
        if known is not None:
            status = OrderStatus.PARTIALLY_FILLED if known.filled else OrderStatus.OPEN
            sink.on_order_report(_report(order_id, known, it, status))


def _adds_up(known: _Known, it: UserMessage) -> bool:
    """Whether what we summed is all that was filled."""
    if known.size is None:
        return known.market
    remaining = it.remaining_size
    if remaining is None and it.reason == "filled":
        remaining = Decimal(0)
    return remaining is not None and known.size - remaining == known.filled


def _report(order_id: str, known: _Known, it: UserMessage, status: OrderStatus) -> OrderReport:
    return OrderReport(
        exchange_order_id=order_id,
        client_order_id=known.client_order_id,
        exchange_symbol=it.product_id,
        status=status,
        filled_quantity=known.filled,
        filled_notional=known.notional,
        reason=it.reason or None,
        event_at=it.time,
    )
