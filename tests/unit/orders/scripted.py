"""An exchange account that does as told: late and lost answers, and a journal of the truth.

`placed` is what the exchange really took; the tests compare what we believe with it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from msgspec.structs import replace

from tests.builders import NOW, a_fill, an_instrument
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
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import CLOSED, Fill, Order, OrderReport, OrderStatus

ANSWER = "answer"
LOSE_ANSWER = "lose answer"
LOSE_REQUEST = "lose request"
REJECT = "reject"
HANG = "hang"
HALT = "halt"


class ScriptedExchange:
    """Implements Trading. Each `place` takes the next word of `script` (ANSWER when empty), or
    a number: the request is accepted that many seconds later, and no answer comes. After HANG
    and `answer_now` the next word says which answer comes.
    """

    exchange_id = ExchangeId.BINANCE
    acceptance_window_s = 7.0

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.script: deque[str | float] = deque()
        self.sends: list[str] = []
        self.placed: list[OrderReport] = []
        self.trades: dict[str, list[Fill]] = {}
        self.asked: list[str] = []
        self.down = False
        self.look_ups_down = False
        self.lag_s = 0.0
        self.blind_until = 0.0
        self.lists_blind_until = 0.0
        self.cancel_script: deque[CancelOutcome | str] = deque()
        self.answer_now = asyncio.Event()
        self.arrived = asyncio.Event()
        self._ids = count(1001)
        self._late: list[tuple[float, Order]] = []

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        self.sends.append(order.client_order_id)
        self.arrived.set()
        word = self.script.popleft() if self.script else ANSWER
        if word == HALT:
            return Rejected(code="TRADING_HALTED", message="trading is halted: drill")
        if isinstance(word, float):
            self._late.append((self.clock.monotonic() + word, order))
            return Unknown("no answer")
        if word == REJECT:
            return Rejected(code="-2010", message="Account has insufficient balance.")
        if word == LOSE_REQUEST:
            return Unknown("connection reset")
        report = self._accept(order)
        if word == HANG:
            await self.answer_now.wait()
            word = self.script.popleft() if self.script else ANSWER
        return Unknown("connection reset") if word == LOSE_ANSWER else Accepted(report)

    async def cancel(self, order: Order, instrument: Instrument) -> CancelOutcome:
        self.asked.append("cancel")
        word = self.cancel_script.popleft() if self.cancel_script else ANSWER
        if not isinstance(word, str):
            return word
        if self.down or word == LOSE_REQUEST:
            return Unknown("no answer")
        report = self._find(order)
        if report is None or report.status in CLOSED:
            return NotFound()
        report = self.change(report, status=OrderStatus.CANCELED)
        return Unknown("no answer") if word == LOSE_ANSWER else Accepted(report)

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        self.asked.append("look up")
        if self.down or self.look_ups_down:
            return LookUpFailed("503")
        report = self._find(order)
        if report is None or self._lags(report) or self.clock.monotonic() < self.blind_until:
            return NotFound()
        return Found(report)

    async def open_orders(self) -> Sequence[OrderReport]:
        self.asked.append("open orders")
        return [report for report in self._listed() if report.status not in CLOSED]

    async def recent_orders(self, instrument: Instrument, since: datetime) -> Sequence[OrderReport]:
        self.asked.append("recent orders")
        return self._listed()

    async def fills(self, order: Order, instrument: Instrument) -> Sequence[Fill]:
        self.asked.append("fills")
        if self.down:
            raise ServiceError("503", "EXCHANGE_UNAVAILABLE")
        return self.trades.get(order.exchange_order_id or "", [])

    async def balances(self) -> Sequence[Balance]:
        return []

    def change(self, report: OrderReport, **changes: Any) -> OrderReport:
        """The exchange's own state of an order moves on."""
        newer = replace(report, **changes)
        self.placed[self.placed.index(report)] = newer
        return newer

    def trade(self, report: OrderReport, quantity: str, price: str = "60000") -> OrderReport:
        """Part of an order executes."""
        fills = self.trades.setdefault(report.exchange_order_id, [])
        trade_id = f"{report.exchange_order_id}-{len(fills) + 1}"
        fills.append(a_fill(trade_id=trade_id, quantity=Decimal(quantity), price=Decimal(price)))
        filled = sum((fill.quantity for fill in fills), Decimal(0))
        notional = sum((fill.quantity * fill.price for fill in fills), Decimal(0))
        done = filled >= Decimal("0.01")
        return self.change(
            report,
            status=OrderStatus.FILLED if done else OrderStatus.PARTIALLY_FILLED,
            filled_quantity=filled,
            filled_notional=notional,
        )

    def forget(self, report: OrderReport) -> None:
        """As Coinbase does with what was canceled without fills."""
        self.placed.remove(report)

    def _listed(self) -> list[OrderReport]:
        self._settle_late()
        if self.down:
            raise ServiceError("503", "EXCHANGE_UNAVAILABLE")
        if self.clock.monotonic() < self.lists_blind_until:
            return []
        return [report for report in self.placed if not self._lags(report)]

    def _lags(self, report: OrderReport) -> bool:
        """Whether reads do not show the order yet."""
        return self.clock.now() < (report.event_at or NOW) + timedelta(seconds=self.lag_s)

    def _accept(self, order: Order) -> OrderReport:
        report = OrderReport(
            exchange_order_id=str(next(self._ids)),
            client_order_id=order.client_order_id,
            exchange_symbol="BTCUSDT",
            status=OrderStatus.OPEN,
            filled_quantity=Decimal(0),
            filled_notional=Decimal(0),
            event_at=self.clock.now(),
        )
        self.placed.append(report)
        return report

    def _settle_late(self) -> None:
        now = self.clock.monotonic()
        for due, order in [late for late in self._late if late[0] <= now]:
            self._late.remove((due, order))
            self._accept(order)

    def _find(self, order: Order) -> OrderReport | None:
        self._settle_late()
        for report in self.placed:
            if report.client_order_id == order.client_order_id:
                return report
        return None


class OneAccount:
    """Every tenant trades on an exchange of its own; one instrument."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.exchanges: dict[str, ScriptedExchange] = {}
        self.instrument_now = an_instrument()

    def of(self, tenant_id: str) -> ScriptedExchange:
        return self.exchanges.setdefault(tenant_id, ScriptedExchange(self._clock))

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> ScriptedExchange:
        return self.of(tenant_id)

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        if symbol != self.instrument_now.symbol:
            raise ServiceError(f"{exchange_id} has no {symbol}", "NOT_FOUND")
        return self.instrument_now


class Switch:
    """A guard that a test turns off; it notes how many sends it let through."""

    def __init__(self) -> None:
        self.halted = False

    def may_send(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        if self.halted:
            raise ServiceError("trading is halted: drill", "TRADING_HALTED")


class Lines:
    """Keeps log lines for a test to read."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = info
    error = info

    def said(self, event: str) -> bool:
        return any(line == event for line, _ in self.lines)
