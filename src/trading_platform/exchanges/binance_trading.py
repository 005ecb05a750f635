"""Binance spot orders and account over REST: requests out, answers classified. Pure.

1. An answer is a rejection only where errors.md says that nothing was done. Time-outs of theirs
   (-1006, -1007), internal errors (-1000, -1001), every 5xx and every unreadable body are unknown.
2. "Duplicate order sent." proves that an order with our id exists: unknown, to be looked up.
3. recvWindow is 5000 ms, so that a request that is late in reaching the engine is refused.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from trading_platform.exchanges import binance_instruments, binance_orders
from trading_platform.exchanges.binance_orders import OrderRow, TradeRow
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
from trading_platform.market.orders import Fill, Order, OrderReport, OrderType

RECV_WINDOW_MS = 5000
_RECV_WINDOW = ("recvWindow", str(RECV_WINDOW_MS))
_ROWS_MAX = 1000

_UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007})
_BUSY_CODES = frozenset({-1008, -1016})
_KEY_CODES = frozenset({-1002, -1022, -2014, -2015})
CLOCK_CODE = -1021
# Unknown; and archived 90 days after it ended with nothing executed.
_GONE_CODES = frozenset({-2013, -2026})


class ErrorBody(msgspec.Struct, frozen=True):
    """`{"code":-1121,"msg":"Invalid symbol."}`"""

    code: int
    msg: str = ""


class _BalanceRow(msgspec.Struct, frozen=True):
    asset: str
    free: Decimal
    locked: Decimal


class _Account(msgspec.Struct, frozen=True):
    balances: tuple[_BalanceRow, ...]


class _Time(msgspec.Struct, frozen=True, rename="camel"):
    server_time: int


_ERROR = msgspec.json.Decoder(ErrorBody)
_ORDER = msgspec.json.Decoder(OrderRow)
_ORDERS = msgspec.json.Decoder(tuple[OrderRow, ...])
_TRADES = msgspec.json.Decoder(tuple[TradeRow, ...])
_ACCOUNT = msgspec.json.Decoder(_Account)
_TIME = msgspec.json.Decoder(_Time)
_INFO = msgspec.json.Decoder(binance_instruments.ExchangeInfo)


class BinanceTrading:
    """TradingDialect of Binance spot."""

    exchange_id = ExchangeId.BINANCE
    # Our own deadline for one call (10), recvWindow (5), the engine's time-out (10), margin (5).
    acceptance_window_s = 30.0
    look_up_after_cancel = False

    def place(self, order: Order, instrument: Instrument) -> HttpRequest:
        return _signed(
            "POST",
            ("symbol", instrument.exchange_symbol),
            ("side", order.side.value),
            *_terms(order),
            ("newClientOrderId", order.client_order_id),
            ("newOrderRespType", "FULL"),
            ("selfTradePreventionMode", "EXPIRE_MAKER"),
        )

    def read_placed(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> PlaceOutcome:
        if _is_good(response):
            report = _read_report(response)
            return Accepted(report) if report else Unknown("the answer could not be read")
        return refusal(response)

    def cancel(self, order: Order, instrument: Instrument) -> HttpRequest:
        return _signed("DELETE", ("symbol", instrument.exchange_symbol), _name(order))

    def read_canceled(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> CancelOutcome:
        if _is_good(response):
            report = _read_report(response)
            return Accepted(report) if report else Unknown("the answer could not be read")
        error = try_read(_ERROR, response.body)
        gone = error and (error.code, error.msg) == (-2011, "Unknown order sent.")
        if gone and response.status < 500:
            return NotFound()
        return refusal(response)

    def look_up(self, order: Order, instrument: Instrument) -> HttpRequest:
        return _signed("GET", ("symbol", instrument.exchange_symbol), _name(order))

    def read_looked_up(
        self, order: Order, instrument: Instrument, response: HttpResponse
    ) -> LookUp:
        if _is_good(response):
            report = _read_report(response)
            return Found(report) if report else LookUpFailed("the answer could not be read")
        error = try_read(_ERROR, response.body)
        if error and error.code in _GONE_CODES and response.status < 500:
            return NotFound()
        return LookUpFailed(_words(response))

    def open_orders(self) -> HttpRequest:
        return _signed("GET", path="/api/v3/openOrders")

    def recent_orders(self, instrument: Instrument, since: datetime) -> HttpRequest:
        return _signed(
            "GET",
            ("symbol", instrument.exchange_symbol),
            ("startTime", str(int(since.timestamp() * 1000))),
            ("limit", str(_ROWS_MAX)),
            path="/api/v3/allOrders",
        )

    def read_orders(self, response: HttpResponse) -> Sequence[OrderReport]:
        self.raise_for(response)
        rows = read(_ORDERS, response, "orders")
        reports = [binance_orders.report(row) for row in rows]
        return [report for report in reports if report is not None]

    def fills(self, order: Order, instrument: Instrument) -> HttpRequest:
        return _signed(
            "GET",
            ("symbol", instrument.exchange_symbol),
            ("orderId", order.exchange_order_id or ""),
            ("limit", str(_ROWS_MAX)),
            path="/api/v3/myTrades",
        )

    def read_fills(self, response: HttpResponse) -> Sequence[Fill]:
        self.raise_for(response)
        fills = [binance_orders.fill_of(row) for row in read(_TRADES, response, "fills")]
        return [fill for fill in fills if fill is not None]

    def next_page(self, request: HttpRequest, response: HttpResponse) -> HttpRequest | None:
        """The request for the rows after a full page: ids ascend in both lists."""
        if request.path == "/api/v3/allOrders":
            orders = try_read(_ORDERS, response.body) or ()
            return _after(request, "orderId", [row.order_id for row in orders], drop="startTime")
        if request.path == "/api/v3/myTrades":
            trades = try_read(_TRADES, response.body) or ()
            return _after(request, "fromId", [row.id for row in trades])
        return None

    def balances(self) -> HttpRequest:
        return _signed("GET", ("omitZeroBalances", "true"), path="/api/v3/account")

    def read_balances(self, response: HttpResponse) -> Sequence[Balance]:
        self.raise_for(response)
        return [
            Balance(currency=row.asset, free=row.free, held=row.locked)
            for row in read(_ACCOUNT, response, "balances").balances
            if row.free or row.locked
        ]

    def instruments(self) -> HttpRequest:
        # Without the permission sets the answer is megabytes smaller.
        query = (("permissions", "SPOT"), ("showPermissionSets", "false"))
        return HttpRequest(method="GET", path="/api/v3/exchangeInfo", query=query)

    def read_instruments(self, response: HttpResponse) -> Sequence[Instrument]:
        self.raise_for(response)
        rows = read(_INFO, response, "instruments").symbols
        found = [binance_instruments.instrument(row) for row in rows]
        return [instrument for instrument in found if instrument is not None]

    def server_time(self) -> HttpRequest:
        return HttpRequest(method="GET", path="/api/v3/time")

    def read_server_time(self, response: HttpResponse) -> int:
        self.raise_for(response)
        return read(_TIME, response, "its time").server_time

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        """-1021: provably nothing done; the clock is to be set and the call may be made again."""
        error = try_read(_ERROR, response.body) if 400 <= response.status < 500 else None
        return error is not None and error.code == CLOCK_CODE

    def pause_s(self, response: HttpResponse) -> float:
        """How long no request may leave for this host: -1003 counts by address, -1015 does not."""
        error = try_read(_ERROR, response.body)
        if response.status == 418 or (
            response.status == 429 and not (error and error.code == -1015)
        ):
            return retry_after_s(response)
        return 0.0

    def raise_for(self, response: HttpResponse) -> None:
        """ServiceError for every answer that is not 200."""
        if _is_good(response):
            return
        if response.status in {418, 429}:
            raise ServiceError(
                f"Binance asks us to wait: {_words(response)}",
                "RATE_LIMIT_EXCEEDED",
                metadata={"retryAfter": retry_after_s(response)},
            )
        error = try_read(_ERROR, response.body)
        if response.status == 401 or (error and error.code in _KEY_CODES):
            raise ServiceError(
                f"Binance does not take this account's key: {_words(response)}", "NOT_AUTHENTICATED"
            )
        raise ServiceError(f"Binance: {_words(response)}", "EXCHANGE_UNAVAILABLE")


def refusal(response: HttpResponse) -> Rejected | Unknown:
    """What an answer that is not 200 proves about a request that changes something."""
    if response.status in {418, 429}:
        wait_s = retry_after_s(response)
        return Rejected(code="RATE_LIMIT_EXCEEDED", message=_words(response), retry_after_s=wait_s)
    if not 400 <= response.status < 500 or response.status == 409:
        return Unknown(_words(response))
    error = try_read(_ERROR, response.body)
    if error is None:
        # The web application firewall answers 403 with HTML, before anything was read.
        blocked = response.status == 403
        return Rejected(code="403", message="blocked") if blocked else Unknown(_words(response))
    if error.code in _UNKNOWN_CODES or "Duplicate order sent" in error.msg:
        return Unknown(_words(response))
    wait = 1.0 if error.code in _BUSY_CODES else None
    return Rejected(code=str(error.code), message=error.msg, retry_after_s=wait)


def retry_after_s(response: HttpResponse) -> float:
    """The Retry-After header in seconds, or a careful guess; never beyond three days."""
    text = response.headers.get("retry-after", "")
    default = 120.0 if response.status == 418 else 10.0
    return min(float(text), 259_200.0) if text.isdigit() and text.isascii() else default


def _terms(order: Order) -> tuple[tuple[str, str], ...]:
    quantity = ("quantity", plain(order.quantity))
    if order.order_type is OrderType.MARKET:
        return (("type", "MARKET"), quantity)
    if order.price is None:
        raise ServiceError("A LIMIT order needs a price.", "ORDER_DENIED")
    price = ("price", plain(order.price))
    if order.post_only:
        if order.time_in_force != "GTC":
            raise ServiceError("A post-only order must be GTC.", "ORDER_DENIED")
        return (("type", "LIMIT_MAKER"), quantity, price)
    return (("type", "LIMIT"), ("timeInForce", order.time_in_force.value), quantity, price)


def _name(order: Order) -> tuple[str, str]:
    # By the exchange's id once it is known: whether a closed order still answers to ours is unsaid.
    if order.exchange_order_id:
        return ("orderId", order.exchange_order_id)
    return ("origClientOrderId", order.client_order_id)


def _signed(method: str, *query: tuple[str, str], path: str = "/api/v3/order") -> HttpRequest:
    return HttpRequest(
        method=method, path=path, query=(*query, _RECV_WINDOW), security=Security.SIGNED
    )


def _after(
    request: HttpRequest, name: str, ids: Sequence[int], drop: str = ""
) -> HttpRequest | None:
    if len(ids) < _ROWS_MAX:
        return None
    query: Mapping[str, str] = {**dict(request.query), name: str(max(ids) + 1)}
    pairs = tuple((key, value) for key, value in query.items() if key != drop)
    return msgspec.structs.replace(request, query=pairs)


def _is_good(response: HttpResponse) -> bool:
    return response.status == 200


def _read_report(response: HttpResponse) -> OrderReport | None:
    row = try_read(_ORDER, response.body)
    return binance_orders.report(row) if row else None


def _words(response: HttpResponse) -> str:
    error = try_read(_ERROR, response.body)
    return f"{error.code} {error.msg}"[:300] if error else f"HTTP {response.status}"
