"""Sinks that remember."""

from collections.abc import Sequence
from typing import Any

from trading_platform.market.accounts import Balance
from trading_platform.market.orders import OrderReport


class Market:
    """A MarketSink that keeps everything it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.gaps: list[str] = []

    def on_quote(
        self,
        exchange_symbol: str,
        bid: float,
        bid_quantity: float,
        ask: float,
        ask_quantity: float,
        event_ns: int,
    ) -> None:
        self.told.append(("quote", exchange_symbol, bid, bid_quantity, ask, ask_quantity, event_ns))

    def on_trade(
        self,
        exchange_symbol: str,
        price: float,
        quantity: float,
        taker_is_buyer: bool,
        trade_id: int,
        event_ns: int,
    ) -> None:
        self.told.append(
            ("trade", exchange_symbol, price, quantity, taker_is_buyer, trade_id, event_ns)
        )

    def on_heartbeat(self, exchange_symbol: str, event_ns: int) -> None:
        self.told.append(("heartbeat", exchange_symbol, event_ns))

    def on_gap(self, reason: str) -> None:
        self.gaps.append(reason)


class Account:
    """An AccountSink that keeps everything it is told, in order."""

    def __init__(self) -> None:
        self.reports: list[OrderReport] = []
        self.balances: list[Balance] = []
        self.gaps: list[str] = []

    def on_order_report(self, report: OrderReport) -> None:
        self.reports.append(report)

    def on_balances(self, balances: Sequence[Balance]) -> None:
        self.balances += balances

    def on_gap(self, reason: str) -> None:
        self.gaps.append(reason)


class Log:
    """A logger that keeps its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    warning = info
    error = info

    def names(self) -> list[str]:
        """The events without their fields."""
        return [event for event, _ in self.events]
