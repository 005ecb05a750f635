"""Coinbase Exchange orders and account over REST: requests out, answers classified. Pure.

1. 200 to a new order means received, not yet accepted by the engine: it is reported open.
2. Only 400, 401, 403, 404 and 429 with the exchange's own words refuse; all else is unknown.
3. A 404 on look-up never means "never existed": an order canceled without fills is purged.
4. client_oid is not an idempotency key there: nothing is ever sent again.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from trading_platform.exchanges import coinbase_instruments, coinbase_orders
from trading_platform.exchanges.coinbase_orders import FillRow, OrderRow
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse, Security
from trading_platform.exchanges.ports import (
    Accepted,
    CancelOutcome,
    Found,
    LookUp,
    LookUpFailed,
    NotFound,
    PlaceOutcome,
    Rejected,
    Unknown,
)
from trading_platform.exchanges.reading import read, try_read
from trading_platform.kit.decimals import plain
from trading_platform.kit.errors import ServiceError
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Fill, Order, OrderReport, OrderStatus, OrderType

_REFUSALS = frozenset({400, 401, 403, 404, 429})
_ROWS_MAX = "1000"


class ErrorBody(msgspec.Struct, frozen=True):
    """`{"message":"Insufficient funds"}`"""

    message: str


class _AccountRow(msgspec.Struct, frozen=True):
    currency: str
    hold: Decimal
    available: Decimal


class _Time(msgspec.Struct, frozen=True):
    epoch: float


_ERROR = msgspec.json.Decoder(ErrorBody)
_ORDER = msgspec.json.Decoder(OrderRow)
_ORDERS = msgspec.json.Decoder(tuple[OrderRow, ...])
_ACCOUNTS = msgspec.json.Decoder(tuple[_AccountRow, ...])
_FILLS = msgspec.json.Decoder(tuple[FillRow, ...])
_PRODUCTS = msgspec.json.Decoder(tuple[coinbase_instruments.ProductRow, ...])
_TIME = msgspec.json.Decoder(_Time)
_ID = msgspec.json.Decoder(str)


class CoinbaseTrading:
    """TradingDialect of Coinbase Exchange."""

    exchange_id = ExchangeId.COINBASE
    # Our own deadline for one call (10), the timestamp's life (30), margin (5).
    acceptance_window_s = 45.0
    look_up_after_cancel = True

    def place(self, order: Order, instrument: Instrument) -> HttpRequest:
        body = {
            "client_oid": order.client_order_id,
            "product_id": instrument.exchange_symbol,
            "side": order.side.value.lower(),
            # Cancel the resting order and go on: what Binance calls EXPIRE_MAKER.
            "stp": "co",
            **_terms(order),
        }
        return _signed("POST", "/orders", body=msgspec.json.encode(body))

    def read_placed(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> PlaceOutcome:
        if response.status != 200:
            return refusal(response)
        report = _read_report(order, response)
        if report is None:
            return Unknown("the answer could not be read")
        if report.status is OrderStatus.REJECTED:
            return Rejected(code="rejected", message=report.reason or "rejected")
        return Accepted(report)

    def cancel(self, order: Order, instrument: Instrument) -> HttpRequest:
        query = (("product_id", instrument.exchange_symbol),)
        return _signed("DELETE", _order_path(order), query)

    def read_canceled(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> CancelOutcome:
        if response.status == 200:
            return Accepted(_cancel_received(order, instrument, response))
        words = _words(response)
        if response.status == 404:
            return NotFound() if _message(response) else Unknown(words)
        if response.status == 400 and "already done" in words:
            return Unknown(words)  # it exists, and how it ended is to be looked up
        return refusal(response)

    def look_up(self, order: Order, instrument: Instrument) -> HttpRequest:
        return _signed("GET", _order_path(order))

    def read_looked_up(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> LookUp:
        if response.status == 200:
            report = _read_report(order, response)
            return Found(report) if report else LookUpFailed("the answer could not be read")
        # Only the exchange's own 404 counts, not one of a gateway in front of it.
        if response.status == 404 and _message(response):
            return NotFound()
        return LookUpFailed(_words(response))

    def open_orders(self) -> HttpRequest:
        states = ("received", "pending", "open", "active")
        query = tuple(("status", state) for state in states)
        return _signed("GET", "/orders", (*query, ("limit", _ROWS_MAX)))

    def recent_orders(self, instrument: Instrument, since: datetime) -> HttpRequest:
        query = (
            ("status", "all"),
            ("product_id", instrument.exchange_symbol),
            ("start_date", since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
            ("limit", _ROWS_MAX),
        )
        return _signed("GET", "/orders", query)

    def read_orders(self, response: HttpResponse) -> Sequence[OrderReport]:
        self.raise_for(response)
        reports = [coinbase_orders.report(row) for row in read(_ORDERS, response, "orders")]
        return [report for report in reports if report is not None]

    def fills(self, order: Order, instrument: Instrument) -> HttpRequest:
        query = (("order_id", order.exchange_order_id or ""), ("limit", _ROWS_MAX))
        return _signed("GET", "/fills", query)

    def read_fills(self, response: HttpResponse) -> Sequence[Fill]:
        self.raise_for(response)
        return [coinbase_orders.fill_of(row) for row in read(_FILLS, response, "fills")]

    def next_page(self, request: HttpRequest, response: HttpResponse) -> HttpRequest | None:
        """Older rows: CB-AFTER names the oldest of this page; without it there are no more."""
        cursor = response.headers.get("cb-after")
        if not cursor or response.body.strip() == b"[]":
            return None
        query = tuple(pair for pair in request.query if pair[0] != "after")
        return msgspec.structs.replace(request, query=(*query, ("after", cursor)))

    def balances(self) -> HttpRequest:
        return _signed("GET", "/accounts")

    def read_balances(self, response: HttpResponse) -> Sequence[Balance]:
        self.raise_for(response)
        return [
            Balance(currency=row.currency, free=row.available, held=row.hold)
            for row in read(_ACCOUNTS, response, "balances")
            if row.available or row.hold
        ]

    def instruments(self) -> HttpRequest:
        return HttpRequest(method="GET", path="/products")

    def read_instruments(self, response: HttpResponse) -> Sequence[Instrument]:
        self.raise_for(response)
        rows = read(_PRODUCTS, response, "instruments")
        found = [coinbase_instruments.instrument(row) for row in rows]
        return [instrument for instrument in found if instrument is not None]

    def server_time(self) -> HttpRequest:
        return HttpRequest(method="GET", path="/time")

    def read_server_time(self, response: HttpResponse) -> int:
        self.raise_for(response)
        return round(read(_TIME, response, "its time").epoch * 1000)

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        """The request's time was refused: provably nothing done."""
        return response.status in {400, 401} and "timestamp expired" in _message(response)

    def pause_s(self, response: HttpResponse) -> float:
        """The public budget is counted by address; the private one by profile."""
        public = response.status == 429 and "Private" not in _words(response)
        return retry_after_s(response) if public else 0.0

    def raise_for(self, response: HttpResponse) -> None:
        """ServiceError for every answer that is not 200."""
        if response.status == 200:
            return
        words = _words(response)
        if response.status == 429:
            raise ServiceError(
                f"Coinbase asks us to wait: {words}",
                "RATE_LIMIT_EXCEEDED",
                metadata={"retryAfter": retry_after_s(response)},
            )
        if response.status == 401:
            raise ServiceError(
                f"Coinbase does not take this account's key: {words}", "NOT_AUTHENTICATED"
            )
        raise ServiceError(f"Coinbase: {words}", "EXCHANGE_UNAVAILABLE")


def refusal(response: HttpResponse) -> Rejected | Unknown:
    """What an answer that is not 200 proves about a request that changes something."""
    words = _words(response)
    if response.status == 429:
        return Rejected(
            code="RATE_LIMIT_EXCEEDED", message=words, retry_after_s=retry_after_s(response)
        )
    if response.status in _REFUSALS and _message(response):
        return Rejected(code=str(response.status), message=words)
    # The firewall in front answers 403 with HTML, before anything was read.
    return Rejected(code="403", message="blocked") if response.status == 403 else Unknown(words)


def retry_after_s(response: HttpResponse) -> float:
    """The Retry-After header if there is one (none is documented), else one second."""
    text = response.headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.isdigit() and text.isascii() else 1.0


def _terms(order: Order) -> dict[str, str | bool]:
    terms: dict[str, str | bool] = {"size": plain(order.quantity)}
    if order.order_type is OrderType.MARKET:
        return {**terms, "type": "market"}
    if order.price is None:
        raise ServiceError("A LIMIT order needs a price.", "ORDER_DENIED")
    if order.post_only and order.time_in_force != "GTC":
        raise ServiceError("A post-only order must be GTC.", "ORDER_DENIED")
    terms |= {"type": "limit", "price": plain(order.price)}
    terms |= {"time_in_force": order.time_in_force.value}
    return {**terms, "post_only": True} if order.post_only else terms


def _order_path(order: Order) -> str:
    return f"/orders/{order.exchange_order_id or f'client:{order.client_order_id}'}"


def _cancel_received(order: Order, instrument: Instrument, response: HttpResponse) -> OrderReport:
    # The answer holds only the id: not how much was filled, not that the order has ended.
    return OrderReport(
        exchange_order_id=order.exchange_order_id or try_read(_ID, response.body) or "",
        client_order_id=order.client_order_id,
        exchange_symbol=instrument.exchange_symbol,
        status=OrderStatus.PARTIALLY_FILLED if order.filled_quantity else OrderStatus.OPEN,
        filled_quantity=order.filled_quantity,
        reason="cancel received",
    )


def _signed(
    method: str, path: str, query: tuple[tuple[str, str], ...] = (), body: bytes = b""
) -> HttpRequest:
    return HttpRequest(method=method, path=path, query=query, body=body, security=Security.SIGNED)


def _read_report(order: Order, response: HttpResponse) -> OrderReport | None:
    row = try_read(_ORDER, response.body)
    return coinbase_orders.report(row, order) if row else None


def _message(response: HttpResponse) -> str:
    error = try_read(_ERROR, response.body)
    return error.message if error else ""


def _words(response: HttpResponse) -> str:
    return _message(response)[:300] or f"HTTP {response.status}"
