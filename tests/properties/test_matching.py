"""Whatever happens on the simulated exchange, money is conserved and the rules of trading hold."""

from collections import defaultdict
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulation.venues import BTC, an_instrument
from trading_platform.kit.clock import ManualClock
from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import (
    FeeRule,
    NewOrder,
    OrderEvent,
    SelfTradePrevention,
    SimEvent,
    SimRefusal,
)

D = Decimal
DEPOSIT = {"USDT": D(50_000), "BTC": D(20)}

# Few prices around 1000 and coarse quantities: orders meet often.
prices = st.integers(98_000, 102_000).map(lambda cents: D(cents // 100 * 100) / 100)
quantities = st.integers(1, 300).map(lambda hundredths: D(hundredths) / 100)
sides = st.sampled_from(Side)


class Level(NamedTuple):
    side: Side
    price: Decimal
    quantity: Decimal


class Snapshot(NamedTuple):
    bids: dict[Decimal, Decimal]
    asks: dict[Decimal, Decimal]


class Print(NamedTuple):
    price: Decimal
    quantity: Decimal
    side: Side


class Submit(NamedTuple):
    account: int
    order: NewOrder


class Cancel(NamedTuple):
    account: int
    nth: int


@st.composite
def submits(draw: st.DrawFn) -> Submit:
    market = draw(st.integers(0, 4)) == 0
    budget = market and draw(st.booleans())
    order = NewOrder(
        symbol=BTC,
        side=draw(sides),
        order_type=OrderType.MARKET if market else OrderType.LIMIT,
        client_order_id=str(draw(st.integers(0, 30))),
        quantity=None if budget else draw(quantities),
        quote_quantity=draw(quantities) * 1000 if budget else None,
        price=None if market else draw(prices),
        time_in_force=TimeInForce.GTC if market else draw(st.sampled_from(TimeInForce)),
        post_only=not market and draw(st.integers(0, 5)) == 0,
        self_trade_prevention=draw(st.sampled_from(SelfTradePrevention)),
    )
    return Submit(draw(st.integers(0, 1)), order)


books = st.dictionaries(prices, quantities, max_size=4)
levels = st.builds(Level, sides, prices, st.one_of(st.just(D(0)), quantities))
prints = st.builds(Print, prices, quantities, sides)
cancels = st.builds(Cancel, st.integers(0, 1), st.integers(0, 20))
snapshots = st.builds(Snapshot, books, books)
actions = st.lists(
    st.one_of(levels, levels, submits(), submits(), submits(), prints, cancels, snapshots),
    max_size=40,
)


class World:
    """One exchange with two accounts; remembers every event."""

    def __init__(self, rule: FeeRule) -> None:
        self.exchange = SimulatedExchange(
            [an_instrument()], clock=ManualClock(), fee_rule=rule, fee_maker=D("0.0007")
        )
        keys = [self.exchange.open_account(name, "s", balances=DEPOSIT) for name in "ab"]
        self.accounts = [key.account_id for key in keys]
        self.events: list[SimEvent] = []
        self.exchange.listen(self.events.append)

    def do(self, action: Level | Snapshot | Print | Submit | Cancel) -> None:
        exchange = self.exchange
        if isinstance(action, Level):
            exchange.set_level(BTC, action.side, action.price, action.quantity)
        elif isinstance(action, Snapshot):
            exchange.replace_book(BTC, action.bids.items(), action.asks.items())
        elif isinstance(action, Print):
            exchange.external_trade(BTC, action.price, action.quantity, action.side)
        else:
            self._trade(action)

    def _trade(self, action: Submit | Cancel) -> None:
        account = self.accounts[action.account]
        before = self.money()
        try:
            if isinstance(action, Submit):
                self.exchange.submit(account, action.order)
            else:
                orders = self.exchange.orders(account)
                order_id = orders[action.nth].order_id if action.nth < len(orders) else 0
                self.exchange.cancel(account, order_id)
        except SimRefusal:
            assert self.money() == before, "a refusal moved money"

    def money(self) -> object:
        return [self.exchange.balances(account) for account in self.accounts]


rules = st.sampled_from(FeeRule)


@settings(max_examples=120, deadline=None)
@given(actions, rules)
def test_money_is_conserved_and_never_negative(steps: list[Any], rule: FeeRule) -> None:
    world = World(rule)
    for step in steps:
        world.do(step)
        ledger = world.exchange.ledger
        totals: dict[str, Decimal] = defaultdict(Decimal)
        for account in world.accounts:
            for row in ledger.balances(account):
                assert row.free >= 0
                assert row.locked >= 0
                totals[row.currency] += row.free + row.locked
        for currency, deposited in DEPOSIT.items():
            outside = ledger.external.get(currency, D(0)) + ledger.fees.get(currency, D(0))
            assert totals[currency] + outside == 2 * deposited


@settings(max_examples=120, deadline=None)
@given(actions, rules)
def test_locks_equal_what_open_orders_hold(steps: list[Any], rule: FeeRule) -> None:
    world = World(rule)
    for step in steps:
        world.do(step)
        for account in world.accounts:
            held = {Side.BUY: D(0), Side.SELL: D(0)}
            for order in world.exchange.open_orders(account):
                held[order.side] += order.locked
                assert order.remaining_quantity > 0
            ledger = world.exchange.ledger
            assert ledger.balance(account, "USDT").locked == held[Side.BUY]
            assert ledger.balance(account, "BTC").locked == held[Side.SELL]
            assert all(not o.locked for o in world.exchange.orders(account) if not o.open)


@settings(max_examples=120, deadline=None)
@given(actions)
def test_book_is_uncrossed_and_holds_exactly_the_open_orders(steps: list[Any]) -> None:
    world = World(FeeRule.RECEIVED)
    for step in steps:
        world.do(step)
        book = world.exchange.book(BTC)
        if book.bids.best is not None and book.asks.best is not None:
            assert book.bids.best < book.asks.best
        resting = {
            place.order_id: place.remaining
            for side in (book.bids, book.asks)
            for price in side.own_prices()
            for place in side.own_at(price)
        }
        orders = [o for a in world.accounts for o in world.exchange.open_orders(a)]
        assert resting == {order.order_id: order.remaining_quantity for order in orders}


@settings(max_examples=120, deadline=None)
@given(actions)
def test_fills_keep_quantity_limit_and_budget(steps: list[Any]) -> None:
    world = World(FeeRule.RECEIVED)
    for step in steps:
        world.do(step)
    for account in world.accounts:
        for order in world.exchange.orders(account):
            trades = world.exchange.order_trades(order.order_id)
            assert sum((t.quantity for t in trades), D(0)) == order.filled_quantity
            assert order.filled_quantity + order.prevented_quantity <= order.quantity
            for trade in trades:
                if order.price is not None and order.side is Side.BUY:
                    assert trade.price <= order.price
                if order.price is not None and order.side is Side.SELL:
                    assert trade.price >= order.price
                if trade.maker:
                    assert trade.price == order.price
            if order.quote_quantity is not None:
                assert order.filled_notional <= order.quote_quantity
            if order.time_in_force is TimeInForce.FOK and trades:
                assert order.filled_quantity == order.quantity


@settings(max_examples=120, deadline=None)
@given(actions)
def test_earlier_and_better_own_orders_fill_first(steps: list[Any]) -> None:
    """When a maker of ours fills, none of ours that is better, or as good and earlier, is open
    beside it on that side, unless it belongs to the taker.
    """
    world = World(FeeRule.RECEIVED)
    open_makers: dict[int, tuple[Side, Decimal, str]] = {}
    for step in steps:
        first = len(world.events)
        world.do(step)
        takers = {
            e.order.account_id
            for e in world.events[first:]
            if isinstance(e, OrderEvent) and e.trade is not None and not e.trade.maker
        }
        for event in world.events[first:]:
            if not isinstance(event, OrderEvent):
                continue
            order = event.order
            if event.trade is not None and event.trade.maker:
                assert order.price is not None
                sign = 1 if order.side is Side.BUY else -1
                for other_id, (side, price, account) in open_makers.items():
                    if side is not order.side or account in takers or other_id == order.order_id:
                        continue
                    ahead = (sign * price, -other_id) > (sign * order.price, -order.order_id)
                    assert not ahead
            if order.open and order.rested and order.price is not None:
                open_makers[order.order_id] = (order.side, order.price, order.account_id)
            else:
                open_makers.pop(order.order_id, None)


@settings(max_examples=60, deadline=None)
@given(actions, rules)
def test_same_inputs_give_the_same_events(steps: list[Any], rule: FeeRule) -> None:
    first, second = World(rule), World(rule)
    for step in steps:
        first.do(step)
        second.do(step)
    assert msgspec.json.encode(first.events) == msgspec.json.encode(second.events)
