"""What a trade costs and who pays what: holds, fees, and the movements of one side of a trade."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal

from trading_platform.market.orders import OrderType, Side
from trading_platform.simulation.account import Ledger
from trading_platform.simulation.matching import Match, Plan
from trading_platform.simulation.model import (
    ZERO,
    FeeRule,
    NewOrder,
    SimOrder,
    SimTrade,
    SimulatedInstrument,
)

_COMMISSION_STEP = Decimal("0.00000001")


class Settlement:
    """Moves money in the ledger by the exchange's fee rule."""

    def __init__(
        self,
        ledger: Ledger,
        instruments: Mapping[str, SimulatedInstrument],
        *,
        fee_maker: Decimal,
        fee_taker: Decimal,
        fee_rule: FeeRule,
    ) -> None:
        self._ledger, self._instruments = ledger, instruments
        self._fee_maker, self._fee_taker, self._rule = fee_maker, fee_taker, fee_rule

    def spent_currency(self, symbol: str, side: Side) -> str:
        """What an order of this side pays with."""
        instrument = self._instruments[symbol]
        return instrument.quote if side is Side.BUY else instrument.base

    def hold_of(self, request: NewOrder, planned: Plan) -> Decimal:
        """What a new order must hold: a limit order all it may spend, a market order what its
        plan comes to.
        """
        if request.order_type is OrderType.LIMIT and request.price is not None:
            return self._hold(request.side, request.quantity or ZERO, request.price)
        matches = (step for step in planned.steps if isinstance(step, Match))
        return sum((self._hold(request.side, m.quantity, m.price) for m in matches), ZERO)

    def needed(self, order: SimOrder) -> Decimal:
        """What an open order must still hold."""
        if order.order_type is OrderType.LIMIT and order.price is not None:
            return self._hold(order.side, order.remaining_quantity, order.price)
        return order.locked if order.open else ZERO

    def release(self, order: SimOrder, amount: Decimal) -> None:
        """Give back a part of an order's hold."""
        if amount:
            currency = self.spent_currency(order.symbol, order.side)
            self._ledger.unlock(order.account_id, currency, amount)

    def trade_of(
        self,
        order: SimOrder,
        trade_id: int,
        price: Decimal,
        quantity: Decimal,
        *,
        maker: bool,
        at_ns: int,
    ) -> SimTrade:
        """One side of a trade with its fee."""
        return SimTrade(
            trade_id=trade_id,
            symbol=order.symbol,
            order_id=order.order_id,
            account_id=order.account_id,
            side=order.side,
            price=price,
            quantity=quantity,
            fee=self._fee(order.side, price, quantity, maker),
            fee_currency=self._fee_currency(order.symbol, order.side),
            maker=maker,
            at_ns=at_ns,
        )

    def settle(self, trade: SimTrade) -> Decimal:
        """Move the money of one side; returns what was paid from its hold."""
        instrument, notional = self._instruments[trade.symbol], trade.price * trade.quantity
        in_quote = trade.fee_currency == instrument.quote
        if trade.side is Side.BUY:
            spent = notional + (trade.fee if in_quote else ZERO)
            received = trade.quantity - (ZERO if in_quote else trade.fee)
            paid, got = instrument.quote, instrument.base
        else:
            spent, received = trade.quantity, notional - trade.fee
            paid, got = instrument.base, instrument.quote
        self._ledger.spend_locked(trade.account_id, paid, spent)
        self._ledger.credit(trade.account_id, got, received)
        sign = 1 if trade.side is Side.BUY else -1
        self._ledger.pay_external(instrument.quote, sign * notional)
        self._ledger.pay_external(instrument.base, -sign * trade.quantity)
        self._ledger.pay_fee(trade.fee_currency, trade.fee)
        return spent

    def _hold(self, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """What must be locked so that this much can always be paid."""
        if side is Side.SELL:
            return quantity
        if self._rule is FeeRule.RECEIVED:
            return quantity * price
        return quantity * price * (1 + max(self._fee_maker, self._fee_taker))

    def _fee(self, side: Side, price: Decimal, quantity: Decimal, maker: bool) -> Decimal:
        rate = self._fee_maker if maker else self._fee_taker
        if self._rule is FeeRule.QUOTE:
            return price * quantity * rate
        received = quantity if side is Side.BUY else price * quantity
        return (received * rate).quantize(_COMMISSION_STEP, ROUND_DOWN)

    def _fee_currency(self, symbol: str, side: Side) -> str:
        instrument = self._instruments[symbol]
        if side is Side.BUY and self._rule is FeeRule.RECEIVED:
            return instrument.base
        return instrument.quote
