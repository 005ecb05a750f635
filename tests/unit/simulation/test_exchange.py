"""The exchange core: money, queue, external moves, events."""

from decimal import Decimal
from typing import Any

import pytest

from tests.unit.simulation.venues import (
    BTC,
    a_binance_exchange,
    a_limit,
    a_liquid_book,
    a_market,
    an_instrument,
)
from trading_platform.kit.clock import ManualClock
from trading_platform.market.orders import Side, TimeInForce
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import (
    BalanceEvent,
    BookChange,
    FeeRule,
    OrderEvent,
    PublicTrade,
    RefusalKind,
    SimEvent,
    SimRefusal,
    SimStatus,
)

D = Decimal
BUY, SELL = Side.BUY, Side.SELL


class Venue:
    def __init__(self, **options: Any) -> None:
        self.exchange, self.key = a_binance_exchange(**options)
        a_liquid_book(self.exchange)
        self.account = self.key.account_id
        self.events: list[SimEvent] = []
        self.exchange.listen(self.events.append)

    def money(self, currency: str) -> tuple[Decimal, Decimal]:
        row = self.exchange.ledger.balance(self.account, currency)
        return row.free, row.locked


@pytest.fixture
def venue() -> Venue:
    return Venue()


def test_resting_order_locks_and_cancel_frees(venue: Venue) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "50000"))
    assert (order.status, venue.money("USDT")) == (SimStatus.NEW, (D(75_000), D(25_000)))
    ended = venue.exchange.cancel(venue.account, order.order_id)
    assert (ended.status, ended.locked) == (SimStatus.CANCELED, D(0))
    assert venue.money("USDT") == (D(100_000), D(0))


def test_better_price_gives_back_the_difference(venue: Venue) -> None:
    venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "61000"))
    assert venue.money("USDT") == (D(100_000) - D("30000.5"), D(0))
    assert venue.money("BTC") == (D("10.4995"), D(0))  # the fee is taken from what is received


def test_consumed_level_stays_consumed_until_it_is_set_again(venue: Venue) -> None:
    venue.exchange.submit(venue.account, a_market(BUY, quantity=D(1)))
    assert venue.exchange.book(BTC).asks.best == D(60_002)
    venue.exchange.set_level(BTC, SELL, D(60_001), D(3))
    assert venue.exchange.book(BTC).asks.levels(1) == [(D(60_001), D(3))]


def test_external_level_through_an_order_fills_it_at_its_own_price(venue: Venue) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "60000.50"))
    venue.exchange.set_level(BTC, SELL, D("60000.10"), D("0.2"))
    trade = venue.exchange.order_trades(order.order_id)[0]
    assert (trade.price, trade.quantity, trade.maker) == (D("60000.50"), D("0.2"), True)
    assert venue.exchange.book(BTC).bids.best == D("60000.50")
    assert venue.exchange.book(BTC).asks.best == D(60_001)  # the arriving level was used up


def test_public_trade_at_our_price_fills_only_past_the_queue_ahead(venue: Venue) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "60000"))
    venue.exchange.external_trade(BTC, D(60_000), D("0.9"), SELL)
    assert venue.exchange.order_trades(order.order_id) == []
    venue.exchange.external_trade(BTC, D(60_000), D("0.3"), SELL)
    assert [t.quantity for t in venue.exchange.order_trades(order.order_id)] == [D("0.2")]


def test_public_trade_beyond_our_price_fills_us_first_and_never_more_than_it_traded(
    venue: Venue,
) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "60000.50"))
    venue.exchange.external_trade(BTC, D(60_000), D("0.4"), SELL)
    assert [t.quantity for t in venue.exchange.order_trades(order.order_id)] == [D("0.4")]
    printed = [e.quantity for e in venue.events if isinstance(e, PublicTrade)]
    assert sum(printed) == D("0.4")


def test_snapshot_drops_external_levels_and_keeps_own_orders(venue: Venue) -> None:
    venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "59000"))
    venue.exchange.replace_book(BTC, [(D(58_000), D(1))], [(D(61_000), D(1))])
    assert venue.exchange.book(BTC).bids.levels(9) == [(D(59_000), D("0.5")), (D(58_000), D(1))]
    assert venue.exchange.book(BTC).asks.levels(9) == [(D(61_000), D(1))]


def test_newest_external_level_removes_those_it_crosses(venue: Venue) -> None:
    venue.exchange.set_level(BTC, BUY, D(60_002), D(1))
    book = venue.exchange.book(BTC)
    assert (book.bids.best, book.asks.best) == (D(60_002), D(60_003))


def test_post_only_that_would_take_is_refused_and_changes_nothing(venue: Venue) -> None:
    with pytest.raises(SimRefusal) as refused:
        venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "60001", post_only=True))
    assert refused.value.kind is RefusalKind.WOULD_TAKE
    assert (venue.money("USDT"), venue.events) == ((D(100_000), D(0)), [])


def test_too_little_money_is_refused(venue: Venue) -> None:
    with pytest.raises(SimRefusal) as refused:
        venue.exchange.submit(venue.account, a_limit(BUY, "2", "59000"))
    assert refused.value.kind is RefusalKind.INSUFFICIENT_BALANCE


def test_client_id_is_refused_while_open_and_free_again_once_closed(venue: Venue) -> None:
    first = venue.exchange.submit(
        venue.account, a_limit(BUY, "0.1", "59000", client_order_id="same")
    )
    with pytest.raises(SimRefusal) as refused:
        venue.exchange.submit(venue.account, a_limit(BUY, "0.2", "59000", client_order_id="same"))
    assert refused.value.kind is RefusalKind.DUPLICATE_CLIENT_ID
    venue.exchange.cancel(venue.account, first.order_id)
    second = venue.exchange.submit(
        venue.account, a_limit(BUY, "0.2", "59000", client_order_id="same")
    )
    assert venue.exchange.order_by_client_id(venue.account, "same") == second


def test_self_trade_expires_the_maker_by_default(venue: Venue) -> None:
    maker = venue.exchange.submit(venue.account, a_limit(SELL, "0.3", "60000.50"))
    venue.exchange.submit(venue.account, a_limit(BUY, "0.3", "60000.60"))
    ended = venue.exchange.order(venue.account, maker.order_id)
    assert ended is not None
    assert (ended.status, ended.prevented_quantity) == (SimStatus.EXPIRED_IN_MATCH, D("0.3"))
    assert venue.money("BTC") == (D(10), D(0))


def test_two_accounts_trade_with_each_other_and_pay_each_other(venue: Venue) -> None:
    other = venue.exchange.open_account("other", "s", balances={"BTC": D(1)}).account_id
    venue.exchange.submit(other, a_limit(SELL, "0.4", "60000.50"))
    venue.exchange.submit(venue.account, a_limit(BUY, "0.4", "60000.50"))
    usdt = venue.exchange.ledger.balance(other, "USDT").free
    assert usdt == D("24000.2") - D("24.0002")
    assert venue.exchange.ledger.external.get("BTC", D(0)) == 0


def test_another_account_cannot_see_or_cancel(venue: Venue) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.1", "59000"))
    other = venue.exchange.open_account("other", "s").account_id
    assert venue.exchange.order(other, order.order_id) is None
    with pytest.raises(SimRefusal):
        venue.exchange.cancel(other, order.order_id)


def test_events_of_a_market_order_come_in_the_documented_order(venue: Venue) -> None:
    venue.exchange.submit(venue.account, a_market(BUY, quantity=D("1.5")))
    own = [e for e in venue.events if isinstance(e, OrderEvent | BalanceEvent)]
    kinds = [e.kind.value if isinstance(e, OrderEvent) else "BALANCE" for e in own]
    assert kinds == ["NEW", "TRADE", "TRADE", "BALANCE"]


def test_book_changes_carry_consecutive_ids(venue: Venue) -> None:
    before = venue.exchange.book(BTC).update_id
    venue.exchange.set_levels(BTC, [(D(59_999), D(5))], [(D(60_004), D(0))])
    venue.exchange.submit(venue.account, a_limit(BUY, "0.1", "59000"))
    changes = [e for e in venue.events if isinstance(e, BookChange)]
    assert (changes[0].first_id, changes[0].last_id) == (before + 1, before + 2)
    assert changes[1].first_id == changes[0].last_id + 1


def test_recorded_trade_id_is_kept_when_it_grows(venue: Venue) -> None:
    venue.exchange.external_trade(BTC, D(60_000), D(1), SELL, trade_id=5_000_000)
    venue.exchange.external_trade(BTC, D(60_000), D(1), SELL, trade_id=4_000_000)
    ids = [e.trade_id for e in venue.events if isinstance(e, PublicTrade)]
    assert ids == [5_000_000, 5_000_001]


def test_halted_symbol_takes_no_orders_but_cancels(venue: Venue) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.1", "59000"))
    venue.exchange.set_trading(BTC, False)
    with pytest.raises(SimRefusal) as refused:
        venue.exchange.submit(venue.account, a_limit(BUY, "0.1", "59001"))
    assert refused.value.kind is RefusalKind.MARKET_CLOSED
    assert venue.exchange.cancel(venue.account, order.order_id).status is SimStatus.CANCELED


def test_fee_in_quote_is_added_to_the_hold_and_the_price() -> None:
    exchange = SimulatedExchange(
        [an_instrument()],
        clock=ManualClock(),
        fee_maker=D("0.004"),
        fee_taker=D("0.006"),
        fee_rule=FeeRule.QUOTE,
    )
    account = exchange.open_account("k", "s", balances={"USDT": D(100_000)}).account_id
    exchange.set_level(BTC, SELL, D(60_000), D("0.5"))
    exchange.submit(account, a_limit(BUY, "1", "60000"))
    money = exchange.ledger.balance(account, "USDT")
    assert money.locked == D(30_000) * D("1.006")
    assert money.free + money.locked == D(100_000) - D(30_000) * D("1.006")
    assert exchange.ledger.balance(account, "BTC").free == D("0.5")
    exchange.external_trade(BTC, D(59_999), D(1), SELL)
    money = exchange.ledger.balance(account, "USDT")
    assert (money.free, money.locked) == (
        D(100_000) - D(30_000) * D("1.006") - D(30_000) * D("1.004"),
        D(0),
    )


def test_closed_orders_are_forgotten_beyond_the_bound() -> None:
    venue = Venue(closed_orders_max=3)
    for number in range(5):
        venue.exchange.submit(
            venue.account,
            a_limit(
                BUY, "0.1", "59000", client_order_id=str(number), time_in_force=TimeInForce.IOC
            ),
        )
    assert [o.client_order_id for o in venue.exchange.orders(venue.account)] == ["2", "3", "4"]
    assert venue.exchange.order_by_client_id(venue.account, "0") is None


def test_snapshot_that_reaches_own_orders_fills_them_and_leaves_the_book_uncrossed(
    venue: Venue,
) -> None:
    order = venue.exchange.submit(venue.account, a_limit(BUY, "0.5", "59990"))
    venue.exchange.replace_book(
        BTC, [(D(59_900), D(1))], [(D(59_980), D("0.2")), (D(59_985), D(1))]
    )
    fills = venue.exchange.order_trades(order.order_id)
    assert [(t.price, t.quantity) for t in fills] == [(D(59_990), D("0.2")), (D(59_990), D("0.3"))]
    book = venue.exchange.book(BTC)
    assert (book.bids.best, book.asks.levels(1)) == (D(59_900), [(D(59_985), D("0.7"))])


def test_snapshot_tells_only_the_levels_that_changed(venue: Venue) -> None:
    bids = [(D(60_000) - step, D(1)) for step in range(5)]
    venue.exchange.replace_book(BTC, bids, [(D(60_001), D(2))])
    change = venue.events[-1]
    assert isinstance(change, BookChange)
    assert (change.replaced, change.bids) == (True, ())
    assert dict(change.asks) == {D(60_001): D(2), **{D(60_002 + n): D(0) for n in range(4)}}
