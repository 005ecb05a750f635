"""Binance's orders as it reads them from a request and writes them into an answer (pure)."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_filters import amount
from trading_platform.simulation.binance_params import Params
from trading_platform.simulation.model import (
    ZERO,
    NewOrder,
    SelfTradePrevention,
    SimOrder,
    SimTrade,
    SimulatedInstrument,
)


class BinanceType(StrEnum):
    """The order types that Binance knows; exchangeInfo lists those that a symbol takes."""

    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"


class ResponseType(StrEnum):
    """How much of the order the answer tells."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def binance_type(order: SimOrder) -> str:
    """The type as Binance names it."""
    return "LIMIT_MAKER" if order.post_only else order.order_type.value


def read_order(params: Params, instrument: SimulatedInstrument, generated_id: str) -> NewOrder:
    """A new order's parameters, checked for shape (not yet for filters)."""
    side = params.one_of("side", Side, errors.BinanceError(-1117, "Invalid side."))
    kind = params.one_of("type", BinanceType, errors.BinanceError(-1116, "Invalid orderType."))
    for name in ("stopPrice", "trailingDelta", "icebergQty"):
        if params.has(name):
            raise errors.not_required(name)
    if kind not in (BinanceType.LIMIT, BinanceType.LIMIT_MAKER, BinanceType.MARKET):
        raise errors.BinanceError(-1116, "Invalid orderType.")
    quantity, quote_quantity, price = _amounts(params, kind)
    return NewOrder(
        symbol=instrument.symbol,
        side=side,
        order_type=OrderType.MARKET if kind is BinanceType.MARKET else OrderType.LIMIT,
        client_order_id=params.client_id("newClientOrderId") or generated_id,
        quantity=quantity,
        quote_quantity=quote_quantity,
        price=price,
        time_in_force=_time_in_force(params, kind),
        post_only=kind is BinanceType.LIMIT_MAKER,
        self_trade_prevention=_prevention(params),
    )


def _amounts(
    params: Params, kind: BinanceType
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """(quantity, quote quantity, price), each where the type demands it."""
    quantity, quote = params.decimal("quantity"), params.decimal("quoteOrderQty")
    price = params.decimal("price")
    if kind is BinanceType.MARKET:
        if price is not None:
            raise errors.not_required("price")
        if (quantity is None) == (quote is None):
            raise (
                errors.missing("quantity")
                if quantity is None
                else errors.not_required("quoteOrderQty")
            )
        return quantity, quote, None
    if quote is not None:
        raise errors.not_required("quoteOrderQty")
    if quantity is None:
        raise errors.missing("quantity")
    if price is None:
        raise errors.missing("price")
    return quantity, None, price


def _time_in_force(params: Params, kind: BinanceType) -> TimeInForce:
    if kind is BinanceType.LIMIT:
        refused = errors.BinanceError(-1115, "Invalid timeInForce.")
        return params.one_of("timeInForce", TimeInForce, refused)
    if params.has("timeInForce"):
        raise errors.not_required("timeInForce")
    return TimeInForce.GTC


def _prevention(params: Params) -> SelfTradePrevention:
    if not params.has("selfTradePreventionMode"):
        return SelfTradePrevention.EXPIRE_MAKER
    refused = errors.BinanceError(
        -1013, "This symbol does not allow the specified self-trade prevention mode."
    )
    return params.one_of("selfTradePreventionMode", SelfTradePrevention, refused)


class OrderRows:
    """Orders and trades as Binance writes them."""

    def __init__(self, symbol_of: Callable[[str], str]) -> None:
        self._symbol_of = symbol_of

    def ids(self, order: SimOrder) -> dict[str, Any]:
        """The fields that lead every answer about an order."""
        return {
            "symbol": self._symbol_of(order.symbol),
            "orderId": order.order_id,
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
        }

    def result(self, order: SimOrder) -> dict[str, Any]:
        """The amounts and states of RESULT."""
        row: dict[str, Any] = {
            "price": amount(order.price or ZERO),
            "origQty": amount(order.quantity),
            "executedQty": amount(order.filled_quantity),
            "origQuoteOrderQty": amount(order.quote_quantity or ZERO),
            "cummulativeQuoteQty": amount(order.filled_notional),
            "status": order.status.value,
            "timeInForce": order.time_in_force.value,
            "type": binance_type(order),
            "side": order.side.value,
        }
        if order.prevented_quantity:
            row["preventedQuantity"] = amount(order.prevented_quantity)
        if order.reason is not None:
            row["expiryReason"] = order.reason
        return row

    def placed(
        self, order: SimOrder, trades: list[SimTrade], kind: ResponseType, params: Params
    ) -> dict[str, Any]:
        """The answer to a placement."""
        row = {**self.ids(order), "transactTime": params.time(order.created_ns)}
        if kind is ResponseType.ACK:
            return row
        row |= self.result(order)
        row["workingTime"] = params.time(order.created_ns)
        if kind is ResponseType.FULL:
            row["fills"] = [
                {
                    "price": amount(trade.price),
                    "qty": amount(trade.quantity),
                    "commission": amount(trade.fee),
                    "commissionAsset": trade.fee_currency,
                    "tradeId": trade.trade_id,
                }
                for trade in trades
            ]
        row["selfTradePreventionMode"] = order.self_trade_prevention.value
        return row

    def canceled(self, order: SimOrder, cancel_id: str, params: Params) -> dict[str, Any]:
        """The answer to a cancel: `clientOrderId` is the cancel request's own id."""
        return {
            **self.ids(order),
            "origClientOrderId": order.client_order_id,
            "clientOrderId": cancel_id,
            "transactTime": params.time(order.updated_ns),
            **self.result(order),
            "selfTradePreventionMode": order.self_trade_prevention.value,
        }

    def queried(self, order: SimOrder, params: Params) -> dict[str, Any]:
        """The answer to a question."""
        return {
            **self.ids(order),
            **self.result(order),
            "stopPrice": amount(ZERO),
            "icebergQty": amount(ZERO),
            "time": params.time(order.created_ns),
            "updateTime": params.time(order.updated_ns),
            "isWorking": True,
            "workingTime": params.time(order.created_ns),
            "selfTradePreventionMode": order.self_trade_prevention.value,
        }

    def trade(self, trade: SimTrade, params: Params) -> dict[str, Any]:
        """One row of myTrades."""
        return {
            "symbol": self._symbol_of(trade.symbol),
            "id": trade.trade_id,
            "orderId": trade.order_id,
            "orderListId": -1,
            "price": amount(trade.price),
            "qty": amount(trade.quantity),
            "quoteQty": amount(trade.price * trade.quantity),
            "commission": amount(trade.fee),
            "commissionAsset": trade.fee_currency,
            "time": params.time(trade.at_ns),
            "isBuyer": trade.side is Side.BUY,
            "isMaker": trade.maker,
            "isBestMatch": True,
        }
