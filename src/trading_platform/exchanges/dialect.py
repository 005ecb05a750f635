"""What an exchange's language must answer. Dialects are pure: values in, values out; no clock, no
I/O.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from trading_platform.exchanges.ports import (
    AccountSink,
    CancelOutcome,
    LookUp,
    MarketSink,
    PlaceOutcome,
)
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Fill, Order, OrderReport


class Security(StrEnum):
    """What a request needs before it may leave."""

    PUBLIC = "PUBLIC"
    SIGNED = "SIGNED"


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request before signing; `query` holds ordered pairs of raw, not yet encoded, text."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    security: Security = Security.PUBLIC


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it came; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TradingDialect(Protocol):
    """Orders and account of one exchange. `read_*` raise ServiceError when an answer is none."""

    exchange_id: ExchangeId
    acceptance_window_s: float
    look_up_after_cancel: bool
    """Whether the answer to a cancel proves no more than that it was received."""

    def place(self, order: Order, instrument: Instrument) -> HttpRequest:
        """The request that submits the order, with our client order id in it."""

    def read_placed(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> PlaceOutcome:
        """Accepted, rejected or unknown, by the exchange's documented rules."""

    def cancel(self, order: Order, instrument: Instrument) -> HttpRequest: ...

    def read_canceled(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> CancelOutcome: ...

    def look_up(self, order: Order, instrument: Instrument) -> HttpRequest: ...

    def read_looked_up(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> LookUp: ...

    def open_orders(self) -> HttpRequest: ...

    def recent_orders(self, instrument: Instrument, since: datetime) -> HttpRequest: ...

    def read_orders(self, response: HttpResponse) -> Sequence[OrderReport]: ...

    def fills(self, order: Order, instrument: Instrument) -> HttpRequest: ...

    def read_fills(self, response: HttpResponse) -> Sequence[Fill]: ...

    def balances(self) -> HttpRequest: ...

    def read_balances(self, response: HttpResponse) -> Sequence[Balance]: ...

    def instruments(self) -> HttpRequest: ...

    def read_instruments(self, response: HttpResponse) -> Sequence[Instrument]: ...

    def server_time(self) -> HttpRequest: ...

    def read_server_time(self, response: HttpResponse) -> int:
        """Unix milliseconds."""

    def next_page(self, request: HttpRequest, response: HttpResponse) -> HttpRequest | None:
        """The request for the rows after these, None when these were the last."""

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        """Whether the exchange refused for our clock alone, so that nothing was done."""

    def pause_s(self, response: HttpResponse) -> float:
        """How long nothing may be sent to this host, 0 for most answers."""

    def raise_for(self, response: HttpResponse) -> None:
        """ServiceError for an answer that is not a good one."""


class MarketDialect(Protocol):
    """The public market data stream of one exchange."""

    exchange_id: ExchangeId
    unknown: int
    garbage: int
    leaving: str | None
    """Why the connection must be replaced, once the exchange has announced it."""
    refused: str | None
    """What the exchange said when it refused a subscription."""

    def subscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]:
        """Frames to send once connected: best quotes, trades and, where there is one, the
        heartbeat.
        """

    def unsubscribe(self, exchange_symbols: Sequence[str]) -> Sequence[bytes]: ...

    def decode(self, frame: bytes, sink: MarketSink) -> None:
        """Hand what the frame says to `sink`; unknown kinds are counted in `unknown`, unreadable
        ones in `garbage`.
        """


class UserDialect(Protocol):
    """The stream of one account's own orders and balances. One instance a connection."""

    exchange_id: ExchangeId
    leaving: str | None
    """Why the connection must be replaced, once the exchange has announced it."""
    refused: str | None
    """What the exchange said when it refused the login or a subscription."""

    def login(
        self, fields: Mapping[str, str | int], exchange_symbols: Sequence[str]
    ) -> Sequence[bytes]:
        """Frames to send once connected; `fields` come from the signer."""

    def decode(self, frame: bytes, sink: AccountSink) -> None:
        """Hand what the frame says to `sink`; never raises for what a frame holds."""
