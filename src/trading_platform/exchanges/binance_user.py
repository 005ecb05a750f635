"""Binance user data on the WebSocket API (web-socket-api, user-data-stream). Pure.

There is no listenKey any more: `userDataStream.subscribe.signature` opens the stream, and every
event comes wrapped as `{"subscriptionId":0,"event":{...}}`. Nothing keeps it alive or renews it.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_platform.exchanges.binance_orders import status_of
from trading_platform.exchanges.ports import AccountSink
from trading_platform.exchanges.reading import finite, time_of_ms, try_read
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Fill, Liquidity, OrderReport

_LOGIN_ID = "user-data"


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    msg: str = ""


class _Frame(msgspec.Struct, frozen=True):
    event: msgspec.Raw = msgspec.Raw()
    status: int | None = None
    error: _Error | None = None


class _Named(msgspec.Struct, frozen=True):
    e: str = ""


class ExecutionReport(msgspec.Struct, frozen=True):
    """executionReport; single letters are Binance's."""

    s: str
    c: str
    i: int
    x: str
    X: str
    z: Decimal
    T: int
    C: str = ""
    r: str = "NONE"
    eR: str = ""
    l: Decimal = Decimal(0)  # noqa: E741 - Binance's name
    L: Decimal = Decimal(0)
    n: Decimal | None = None
    N: str | None = None
    t: int = -1
    Z: Decimal | None = None
    m: bool = False


class _Position(msgspec.Struct, frozen=True):
    a: str
    f: Decimal
    l: Decimal  # noqa: E741 - Binance's name


class AccountPosition(msgspec.Struct, frozen=True):
    """outboundAccountPosition: the balances that may have changed, absolute."""

    B: tuple[_Position, ...]


_FRAME = msgspec.json.Decoder(_Frame)
_NAMED = msgspec.json.Decoder(_Named)
_EXECUTION = msgspec.json.Decoder(ExecutionReport)
_POSITION = msgspec.json.Decoder(AccountPosition)


class BinanceUser:
    """UserDialect of Binance spot."""

    exchange_id = ExchangeId.BINANCE

    def __init__(self) -> None:
        self.unknown = 0
        self.garbage = 0
        self.leaving: str | None = None
        self.refused: str | None = None

    def login(
        self, fields: Mapping[str, str | int], exchange_symbols: Sequence[str]
    ) -> Sequence[bytes]:
        request = {
            "id": _LOGIN_ID,
            "method": "userDataStream.subscribe.signature",
            "params": fields,
        }
        return [msgspec.json.encode(request)]

    def decode(self, frame: bytes, sink: AccountSink) -> None:
        outer = try_read(_FRAME, frame)
        if outer is None:
            self.garbage += 1
        elif outer.event:
            self._read_event(bytes(outer.event), sink)
        elif outer.error is not None:
            # A refused login, or a key that was revoked while we listened.
            self.refused = f"{outer.error.code} {outer.error.msg}"[:200]
        elif outer.status != 200:
            self.unknown += 1

    def _read_event(self, event: bytes, sink: AccountSink) -> None:
        name = try_read(_NAMED, event)
        match name.e if name else "":
            case "executionReport":
                self._read_execution(event, sink)
            case "outboundAccountPosition":
                self._read_position(event, sink)
            case "eventStreamTerminated" | "serverShutdown" as end:
                self.leaving = end
            case "":
                self.garbage += 1
            case _:
                self.unknown += 1

    def _read_execution(self, event: bytes, sink: AccountSink) -> None:
        execution = try_read(_EXECUTION, event)
        report = report_of(execution) if execution else None
        if report is None:
            self.garbage += 1
            sink.on_gap("an order event could not be read")
        else:
            sink.on_order_report(report)

    def _read_position(self, event: bytes, sink: AccountSink) -> None:
        position = try_read(_POSITION, event)
        if position is None:
            self.garbage += 1
            return
        sink.on_balances([Balance(currency=row.a, free=row.f, held=row.l) for row in position.B])


def report_of(execution: ExecutionReport) -> OrderReport | None:
    """The event as evidence; None where its numbers are none."""
    filled = finite(execution.z)
    if filled is None:
        return None
    reason = execution.eR or execution.r
    return OrderReport(
        exchange_order_id=str(execution.i),
        # On a cancel `c` names the cancel request and `C` the order.
        client_order_id=execution.C or execution.c,
        exchange_symbol=execution.s,
        status=status_of(execution.X, filled),
        filled_quantity=filled,
        filled_notional=finite(execution.Z),
        fills=_fills(execution),
        reason=None if reason == "NONE" else reason,
        event_at=time_of_ms(execution.T),
    )


def _fills(execution: ExecutionReport) -> tuple[Fill, ...]:
    at = time_of_ms(execution.T)
    if execution.x != "TRADE" or execution.t < 0 or at is None:
        return ()
    return (
        Fill(
            trade_id=str(execution.t),
            price=execution.L,
            quantity=execution.l,
            fee=execution.n or Decimal(0),
            fee_currency=execution.N or "",
            liquidity=Liquidity.MAKER if execution.m else Liquidity.TAKER,
            event_at=at,
        ),
    )
