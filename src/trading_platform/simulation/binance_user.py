"""An account's events as Binance tells them (user-data-stream "Payload"; pure)."""

from collections.abc import Callable
from typing import Any

from trading_platform.simulation.binance_filters import amount
from trading_platform.simulation.binance_orders import binance_type
from trading_platform.simulation.model import (
    ZERO,
    BalanceEvent,
    OrderEvent,
    OrderEventKind,
    SimEvent,
)

_EXECUTION_TYPES = {
    OrderEventKind.NEW: "NEW",
    OrderEventKind.TRADE: "TRADE",
    OrderEventKind.CANCELED: "CANCELED",
    OrderEventKind.EXPIRED: "EXPIRED",
    OrderEventKind.PREVENTED: "TRADE_PREVENTION",
}


def user_events(
    event: SimEvent, symbol_of: Callable[[str], str]
) -> tuple[str, list[dict[str, Any]]] | None:
    """(account id, events to send); None for what is no account's own."""
    if isinstance(event, OrderEvent):
        if event.kind is OrderEventKind.RESTED:  # Binance does not tell
            return None
        return event.order.account_id, [execution_report(event, symbol_of(event.order.symbol))]
    if isinstance(event, BalanceEvent):
        return event.account_id, _balance_events(event)
    return None


def execution_report(event: OrderEvent, exchange_symbol: str) -> dict[str, Any]:
    """One executionReport."""
    order, trade = event.order, event.trade
    event_ms = event.at_ns // 1_000_000
    canceled = event.kind is OrderEventKind.CANCELED
    report: dict[str, Any] = {
        "e": "executionReport",
        "E": event_ms,
        "s": exchange_symbol,
        "c": (event.cancel_client_order_id or "") if canceled else order.client_order_id,
        "S": order.side.value,
        "o": binance_type(order),
        "f": order.time_in_force.value,
        "q": amount(order.quantity),
        "p": amount(order.price or ZERO),
        "P": amount(ZERO),
        "F": amount(ZERO),
        "g": -1,
        "C": order.client_order_id if canceled else "",
        "x": _EXECUTION_TYPES[event.kind],
        "X": order.status.value,
        "r": "NONE",
        "i": order.order_id,
        "l": amount(trade.quantity if trade else ZERO),
        "z": amount(order.filled_quantity),
        "L": amount(trade.price if trade else ZERO),
        "n": amount(trade.fee) if trade else "0",
        "N": trade.fee_currency if trade else None,
        "T": event_ms,
        "t": trade.trade_id if trade else -1,
        "I": event.execution_id,
        "w": order.open and (order.rested or event.kind is OrderEventKind.NEW),
        "m": trade.maker if trade else False,
        "M": trade is not None,
        "O": order.created_ns // 1_000_000,
        "Z": amount(order.filled_notional),
        "Y": amount(trade.price * trade.quantity if trade else ZERO),
        "Q": amount(order.quote_quantity or ZERO),
        "W": order.created_ns // 1_000_000,
        "V": order.self_trade_prevention.value,
    }
    if order.prevented_quantity:
        report["A"] = amount(order.prevented_quantity)
        report["B"] = amount(event.prevented_quantity)
    if order.reason is not None:
        report["eR"] = order.reason
    return report


def _balance_events(event: BalanceEvent) -> list[dict[str, Any]]:
    """outboundAccountPosition, after a balanceUpdate where money came from outside."""
    event_ms = event.at_ns // 1_000_000
    position = {
        "e": "outboundAccountPosition",
        "E": event_ms,
        "u": event_ms,
        "B": [
            {"a": row.currency, "f": amount(row.free), "l": amount(row.locked)}
            for row in event.balances
        ],
    }
    if event.deposit is None:
        return [position]
    update = {
        "e": "balanceUpdate",
        "E": event_ms,
        "a": event.deposit.currency,
        "d": amount(event.deposit.free),
        "T": event_ms,
    }
    return [update, position]
