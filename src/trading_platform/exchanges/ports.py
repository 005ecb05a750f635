"""What the rest of the house asks of an exchange, and what an answer can be."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Fill, Order, OrderReport


class Accepted(msgspec.Struct, frozen=True):
    """The exchange has the order, or did what was asked; `report` is its evidence."""

    report: OrderReport


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange refused and, by its own rules, nothing was done."""

    code: str
    message: str
    retry_after_s: float | None = None


class Unknown(msgspec.Struct, frozen=True):
    """Nobody knows: time-out, broken connection, 5xx, unreadable answer. Look it up, never send it
    again.
    """

    reason: str


class Found(msgspec.Struct, frozen=True):
    """The exchange knows the order."""

    report: OrderReport


class NotFound(msgspec.Struct, frozen=True):
    """The exchange answered that it does not know the order. Alone that is not yet evidence of
    absence.
    """


class LookUpFailed(msgspec.Struct, frozen=True):
    """We could not ask. That is no evidence at all and never counts."""

    reason: str


PlaceOutcome = Accepted | Rejected | Unknown
CancelOutcome = Accepted | Rejected | NotFound | Unknown
LookUp = Found | NotFound | LookUpFailed


class Trading(Protocol):
    """One tenant's account at one exchange. No method sends anything twice.

    Reads (`open_orders`, `recent_orders`, `fills`, `balances`) raise ServiceError
    EXCHANGE_UNAVAILABLE, RATE_LIMIT_EXCEEDED or NOT_AUTHENTICATED; `place`, `cancel` and `look_up`
    never raise for what an exchange or a network does.
    """

    exchange_id: ExchangeId
    acceptance_window_s: float
    """How long after signing a request may still be accepted, margin included."""

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        """Send the order once."""

    async def cancel(self, order: Order, instrument: Instrument) -> CancelOutcome:
        """Ask for its end; cancelling is idempotent."""

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        """Ask for one order by our client order id, or the exchange's id once it is known."""

    async def open_orders(self) -> Sequence[OrderReport]:
        """All open orders of the account, ours and others'."""

    async def fills(self, order: Order, instrument: Instrument) -> Sequence[Fill]:
        """All fills of one order whose exchange_order_id is known."""

    async def recent_orders(self, instrument: Instrument, since: datetime) -> Sequence[OrderReport]:
        """Orders of one symbol in any state, created since `since`: the second witness before "not
        placed".
        """

    async def balances(self) -> Sequence[Balance]:
        """What the account holds, without the zeros."""


class MarketSink(Protocol):
    """Takes decoded market data inside the frame callback. Must be quick and must not raise.

    Prices and quantities are floats; `event_ns` is the exchange's own time, 0 where the message has
    none.
    """

    def on_quote(
        self,
        exchange_symbol: str,
        bid: float,
        bid_quantity: float,
        ask: float,
        ask_quantity: float,
        event_ns: int,
    ) -> None:
        """The best bid and ask changed."""

    def on_trade(
        self,
        exchange_symbol: str,
        price: float,
        quantity: float,
        taker_is_buyer: bool,
        trade_id: int,
        event_ns: int,
    ) -> None:
        """A public trade happened."""

    def on_heartbeat(self, exchange_symbol: str, event_ns: int) -> None:
        """The exchange says that it lives and has sent all up to now."""

    def on_gap(self, reason: str) -> None:
        """Messages were or may have been missed (reconnect, dropped sequence)."""


class AccountSink(Protocol):
    """Takes decoded events of one account's user stream, in the order they arrive."""

    def on_order_report(self, report: OrderReport) -> None:
        """An order changed."""

    def on_balances(self, balances: Sequence[Balance]) -> None:
        """Some balances changed."""

    def on_gap(self, reason: str) -> None:
        """Events were or may have been missed: ask by REST."""
