"""What the simulated Coinbase Exchange checks of `POST /orders` before it takes one. Pure.

Texts as in the exchange's answers and client libraries; every refusal is a 400, and then nothing
was done (orders/create-new-order, products, concepts/matching-engine).
"""

import re
from decimal import ROUND_DOWN, Decimal

import msgspec

from trading_platform.kit.decimals import is_multiple, plain, round_up
from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation.coinbase_security import ApiError
from trading_platform.simulation.coinbase_text import is_client_oid
from trading_platform.simulation.model import NewOrder, SelfTradePrevention, SimulatedInstrument

PREVENTION = {
    "dc": SelfTradePrevention.DECREMENT,
    "co": SelfTradePrevention.EXPIRE_MAKER,
    "cn": SelfTradePrevention.EXPIRE_TAKER,
    "cb": SelfTradePrevention.EXPIRE_BOTH,
}
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")


_ABSENT = msgspec.Raw(b"null")


class OrderBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /orders`. Numbers are kept as written: text or JSON number."""

    product_id: str = ""
    side: str = ""
    type: str = "limit"
    price: msgspec.Raw = _ABSENT
    size: msgspec.Raw = _ABSENT
    funds: msgspec.Raw = _ABSENT
    time_in_force: str = "GTC"
    post_only: bool = False
    stop: str | None = None
    stp: str = "dc"
    client_oid: str | None = None
    profile_id: str | None = None


class CheckedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that may go to the engine. `request.client_order_id` is still to be set."""

    request: NewOrder
    client_oid: str | None
    specified_funds: Decimal | None = None


def read_order(body: bytes) -> OrderBody:
    """The body as it came; 400 when it is no order at all."""
    try:
        return msgspec.json.decode(body, type=OrderBody)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Bad Request: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(400, "Invalid JSON") from None


def check_order(
    body: OrderBody, instrument: SimulatedInstrument | None, fee_taker: Decimal
) -> CheckedOrder:
    """The order for the engine, or ApiError 400 with the exchange's sentence."""
    if instrument is None:
        raise ApiError(400, "Product not found")
    if body.client_oid is not None and not is_client_oid(body.client_oid):
        raise ApiError(400, "Invalid client_oid")
    side = {"buy": Side.BUY, "sell": Side.SELL}.get(body.side)
    if side is None:
        raise ApiError(400, "Invalid side")
    if body.stp not in PREVENTION:
        raise ApiError(400, "Invalid stp")
    if body.stop is not None or body.type == "stop":
        raise ApiError(400, "stop orders are not supported")
    if body.type == "limit":
        return _limit(body, instrument, side)
    if body.type == "market":
        return _market(body, instrument, side, fee_taker)
    raise ApiError(400, "Invalid order type")


def _limit(body: OrderBody, instrument: SimulatedInstrument, side: Side) -> CheckedOrder:
    if body.time_in_force not in TimeInForce.__members__:
        raise ApiError(400, "Invalid time_in_force")
    time_in_force = TimeInForce(body.time_in_force)
    if body.post_only and time_in_force is not TimeInForce.GTC:
        raise ApiError(400, "post_only is not allowed with IOC or FOK")
    price = _number(body.price, "price", instrument.price_increment)
    size = _number(body.size, "size", instrument.quantity_increment)
    _check_size(size, price, instrument)
    return CheckedOrder(
        client_oid=body.client_oid,
        request=NewOrder(
            symbol=instrument.symbol,
            side=side,
            order_type=OrderType.LIMIT,
            client_order_id="",
            quantity=size,
            price=price,
            time_in_force=time_in_force,
            post_only=body.post_only,
            self_trade_prevention=PREVENTION[body.stp],
        ),
    )


def _market(
    body: OrderBody, instrument: SimulatedInstrument, side: Side, fee_taker: Decimal
) -> CheckedOrder:
    if body.post_only:
        raise ApiError(400, "post_only is only allowed for limit orders")
    if _absent(body.size) == _absent(body.funds):
        raise ApiError(400, "Must provide exactly one of size or funds")
    size = funds = None
    if not _absent(body.size):
        size = _number(body.size, "size", instrument.quantity_increment)
    else:
        funds = _number(body.funds, "funds", instrument.price_increment)
        if funds < instrument.notional_min:
            raise ApiError(
                400, f"funds is too small. Minimum size is {plain(instrument.notional_min)}"
            )
    return CheckedOrder(
        client_oid=body.client_oid,
        specified_funds=funds,
        request=NewOrder(
            symbol=instrument.symbol,
            side=side,
            order_type=OrderType.MARKET,
            client_order_id="",
            quantity=size,
            quote_quantity=None if funds is None else without_fee(funds, fee_taker),
            self_trade_prevention=PREVENTION[body.stp],
        ),
    )


def without_fee(funds: Decimal, fee_taker: Decimal) -> Decimal:
    """What of `funds` can be traded so that the fee still fits (`specified_funds` to `funds`)."""
    return (funds / (1 + fee_taker)).quantize(Decimal("1e-8"), ROUND_DOWN)


def _check_size(size: Decimal, price: Decimal, instrument: SimulatedInstrument) -> None:
    """min_market_funds is the least notional of limit orders too, since 2022."""
    if price * size < instrument.notional_min:
        least = round_up(instrument.notional_min / price, instrument.quantity_increment)
        raise ApiError(400, f"size is too small. Minimum size is {plain(least)}")


def _absent(raw: msgspec.Raw) -> bool:
    return bytes(raw) == b"null"


def _number(raw: msgspec.Raw, name: str, increment: Decimal) -> Decimal:
    """A positive plain number, text or JSON number, in whole increments."""
    if _absent(raw):
        raise ApiError(400, f"{name} is required")
    text = bytes(raw).decode().strip('"')
    if not _NUMBER.fullmatch(text):
        raise ApiError(400, f"Invalid {name}")
    value = Decimal(text)
    if value <= 0:
        raise ApiError(400, f"{name} is too small. Minimum size is {plain(increment)}")
    if not is_multiple(value, increment):
        raise ApiError(400, f"{name} is too accurate. Smallest unit is {plain(increment)}")
    return value
