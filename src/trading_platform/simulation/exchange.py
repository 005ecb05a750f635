"""The simulated exchange: accounts trade with each other and with a replayed market.

Market side (recordings): `set_levels`, `replace_book`, `external_trade`.
Account side (servers): `open_account`, `submit`, `cancel` and the queries.
Every operation is one journal line, then one burst of events to the listeners, in exchange order.

1. External liquidity that our takers took stays taken until the recording sets that level again.
2. An external level that reaches own resting orders fills them, at their price, up to its quantity.
3. An external trade fills own orders at better prices first, then those at its price whose queue
   ahead it has used up; never more than it traded.
4. The newest external level wins: opposite external levels that it crosses are removed.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from trading_platform.kit.clock import Clock
from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation.account import Ledger
from trading_platform.simulation.book import Book
from trading_platform.simulation.chronicle import Chronicle
from trading_platform.simulation.journal import Journal
from trading_platform.simulation.matching import Arrival, Ending, Match, Plan, Prevention, plan
from trading_platform.simulation.model import (
    ALL_PERMISSIONS,
    ZERO,
    FeeRule,
    NewOrder,
    OrderEventKind,
    RefusalKind,
    SimBalance,
    SimEvent,
    SimKey,
    SimOrder,
    SimRefusal,
    SimStatus,
    SimTrade,
    SimulatedInstrument,
)
from trading_platform.simulation.register import OrderRegister
from trading_platform.simulation.settlement import Settlement
from trading_platform.simulation.tape import Tape

Levels = Iterable[tuple[Decimal, Decimal]]


class SimulatedExchange:
    """One exchange with all its accounts. Not safe for threads; listeners must not call back."""

    def __init__(
        self,
        instruments: Iterable[SimulatedInstrument],
        *,
        clock: Clock,
        fee_maker: Decimal = Decimal("0.001"),
        fee_taker: Decimal = Decimal("0.001"),
        fee_rule: FeeRule = FeeRule.RECEIVED,
        unique_open_client_ids: bool = True,
        journal: Journal | None = None,
        closed_orders_max: int = 20_000,
    ) -> None:
        self.instruments: Mapping[str, SimulatedInstrument] = {i.symbol: i for i in instruments}
        self.by_exchange_symbol = {i.exchange_symbol: i for i in self.instruments.values()}
        self.clock = clock
        self.fee_maker, self.fee_taker, self.fee_rule = fee_maker, fee_taker, fee_rule
        self.ledger = Ledger()
        self._unique_open_client_ids = unique_open_client_ids
        self._settlement = Settlement(
            self.ledger,
            self.instruments,
            fee_maker=fee_maker,
            fee_taker=fee_taker,
            fee_rule=fee_rule,
        )
        self._register = OrderRegister(closed_orders_max)
        self._books = {symbol: Book() for symbol in self.instruments}
        self._halted: set[str] = set()
        self._keys: dict[str, SimKey] = {}
        self._chronicle = Chronicle(
            clock=clock,
            books=self._books,
            ledger=self.ledger,
            register=self._register,
            journal=journal,
        )
        if journal is not None:
            self._keys = dict(journal.memory.keys)
            self._chronicle.restore(journal)

    # -- accounts and keys

    def open_account(
        self,
        api_key: str,
        secret: str,
        passphrase: str | None = None,
        balances: Mapping[str, Decimal] | None = None,
        *,
        ed25519_public_pem: str | None = None,
        permissions: frozenset[str] = ALL_PERMISSIONS,
    ) -> SimKey:
        """A new account with its first key; one that the journal already holds is left as it is."""
        if api_key in self._keys:
            return self._keys[api_key]
        account_id = self._new_account_id()
        key = SimKey(
            api_key=api_key,
            account_id=account_id,
            secret=secret,
            passphrase=passphrase,
            ed25519_public_pem=ed25519_public_pem,
            permissions=permissions,
            created_ms=self.clock.time_ns() // 1_000_000,
        )
        self._keys[api_key] = key
        for currency, amount in (balances or {}).items():
            self.ledger.credit(account_id, currency, amount)
        self._chronicle.commit(keys=(key,))  # one line: a crash leaves no account half funded
        return key

    def add_key(self, key: SimKey) -> None:
        """One more key, or new rights for a known one."""
        self._keys[key.api_key] = key
        self._chronicle.commit(keys=(key,))

    def revoke_key(self, api_key: str) -> None:
        """The key is refused from now on."""
        self._keys.pop(api_key, None)
        self._chronicle.commit(revoked_keys=(api_key,))

    def key(self, api_key: str) -> SimKey | None:
        """A live key."""
        return self._keys.get(api_key)

    def deposit(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Money from outside; a negative amount takes free money away."""
        self.ledger.credit(account_id, currency, amount)
        self._chronicle.commit(SimBalance(currency=currency, free=amount, locked=ZERO))

    def balances(self, account_id: str) -> list[SimBalance]:
        """All currencies ever held."""
        return self.ledger.balances(account_id)

    # -- orders

    def submit(self, account_id: str, request: NewOrder) -> SimOrder:
        """Match and, where its time in force allows, rest. Raises SimRefusal."""
        instrument = self._tradable(request.symbol)
        if self._unique_open_client_ids:
            self._refuse_duplicate(account_id, request.client_order_id)
        book = self._books[request.symbol]
        planned = plan(_arrival(account_id, request, instrument), book.opposite(request.side))
        if request.post_only and planned.steps:
            raise SimRefusal(RefusalKind.WOULD_TAKE, "Order would immediately match and take.")
        if planned.ending is Ending.FILLED and not planned.steps:
            raise SimRefusal(RefusalKind.INVALID, "The amount is smaller than one step.")
        order = self._admit(account_id, request, instrument, planned)
        for step in planned.steps:
            order = self._step(order, step)
        order = self._end(order, planned)
        self._chronicle.commit()
        return order

    def cancel(
        self, account_id: str, order_id: int, *, cancel_client_order_id: str | None = None
    ) -> SimOrder:
        """End an open order. Raises SimRefusal UNKNOWN_ORDER when it is not open."""
        order = self.order(account_id, order_id)
        if order is None or not order.open:
            raise SimRefusal(RefusalKind.UNKNOWN_ORDER, "Unknown order sent.")
        canceled = self._close(
            order,
            SimStatus.CANCELED,
            OrderEventKind.CANCELED,
            cancel_client_order_id=cancel_client_order_id,
        )
        self._chronicle.commit()
        return canceled

    def order(self, account_id: str, order_id: int) -> SimOrder | None:
        """One order of the account."""
        order = self._register.get(order_id)
        return order if order is not None and order.account_id == account_id else None

    def order_by_client_id(self, account_id: str, client_order_id: str) -> SimOrder | None:
        """The newest order with this client id."""
        return self._register.by_client_id(account_id, client_order_id)

    def open_orders(self, account_id: str, symbol: str | None = None) -> list[SimOrder]:
        """Open orders, oldest first."""
        return self._register.open_orders(account_id, symbol)

    def orders(self, account_id: str, symbol: str | None = None) -> list[SimOrder]:
        """All orders still remembered, oldest first."""
        return self._register.orders(account_id, symbol)

    def trades(self, account_id: str, symbol: str | None = None) -> list[SimTrade]:
        """All executions of orders still remembered, in order of trade id."""
        orders = self._register.orders(account_id, symbol)
        found = [trade for order in orders for trade in self._register.trades(order.order_id)]
        return sorted(found, key=lambda trade: (trade.at_ns, trade.trade_id))

    def order_trades(self, order_id: int) -> list[SimTrade]:
        """The executions of one order."""
        return self._register.trades(order_id)

    # -- the market

    def book(self, symbol: str) -> Book:
        """To read from; changes go through this exchange."""
        return self._books[symbol]

    def tape(self, symbol: str) -> Tape:
        """Public trades and candles."""
        return self._chronicle.tapes[symbol]

    def reference_price(self, symbol: str, minutes: int = 5) -> Decimal | None:
        """Volume-weighted over the last minutes, else the last trade, else the middle of the
        book.
        """
        tape, book = self._chronicle.tapes[symbol], self._books[symbol]
        recent = tape.window(self.clock.time_ns() // 1_000_000 - minutes * 60_000)
        if recent is not None and recent.volume > 0:
            return recent.quote_volume / recent.volume
        if tape.last is not None:
            return tape.last.price
        if book.bids.best is not None and book.asks.best is not None:
            return (book.bids.best + book.asks.best) / 2
        return None

    def set_trading(self, symbol: str, trading: bool) -> None:
        """Halt or resume a symbol; resting orders stay and can be canceled."""
        (self._halted.discard if trading else self._halted.add)(symbol)

    def is_trading(self, symbol: str) -> bool:
        """Whether new orders are taken."""
        return self.instruments[symbol].trading and symbol not in self._halted

    def set_level(self, symbol: str, side: Side, price: Decimal, quantity: Decimal) -> None:
        """The external quantity at one price, absolute; 0 removes it."""
        level = ((price, quantity),)
        self.set_levels(symbol, *((level, ()) if side is Side.BUY else ((), level)))

    def set_levels(self, symbol: str, bids: Levels, asks: Levels) -> None:
        """Several levels as one change of the book."""
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            # Removals first: a moved best price must not cross what is about to go.
            for price, quantity in sorted(levels, key=lambda level: level[1] > 0):
                self._set_external(symbol, side, price, quantity)
        self._chronicle.commit()

    def replace_book(self, symbol: str, bids: Levels, asks: Levels) -> None:
        """A snapshot: everything external that it does not name is gone."""
        book, snapshot = self._books[symbol], {Side.BUY: dict(bids), Side.SELL: dict(asks)}
        for side, levels in snapshot.items():
            for price in book.side(side).load(levels):
                self._chronicle.touch(symbol, side, price)
        for side, levels in snapshot.items():
            for price in book.side(side).prices_meeting(book.opposite(side).best):
                if price in levels:  # it reaches an own order, or the snapshot is crossed
                    self._set_external(symbol, side, price, levels[price])
        self._chronicle.commit(replaced=True)

    def external_trade(
        self,
        symbol: str,
        price: Decimal,
        quantity: Decimal,
        taker_side: Side,
        trade_id: int | None = None,
    ) -> None:
        """A recorded public trade, with its id where that is above all earlier ones. Parts of it
        that filled own orders are told as trades of their own.
        """
        left = self._fill_through(symbol, price, quantity, taker_side)
        if left > 0:
            if trade_id is not None:
                self._chronicle.jump_to_trade_id(symbol, trade_id)
            self._chronicle.print_trade(symbol, price, left, taker_side)
        self._chronicle.commit()

    # -- listeners

    def listen(self, callback: Callable[[SimEvent], None]) -> Callable[[], None]:
        """Call back with every event, in order; returns what stops it."""
        return self._chronicle.listen(callback)

    # -- inside: admission

    def _tradable(self, symbol: str) -> SimulatedInstrument:
        if symbol not in self.instruments:
            raise SimRefusal(RefusalKind.UNKNOWN_SYMBOL, "Invalid symbol.")
        if not self.is_trading(symbol):
            raise SimRefusal(RefusalKind.MARKET_CLOSED, "Market is closed.")
        return self.instruments[symbol]

    def _refuse_duplicate(self, account_id: str, client_order_id: str) -> None:
        known = self.order_by_client_id(account_id, client_order_id)
        if known is not None and known.open:
            raise SimRefusal(RefusalKind.DUPLICATE_CLIENT_ID, "Duplicate order sent.")

    def _admit(
        self,
        account_id: str,
        request: NewOrder,
        instrument: SimulatedInstrument,
        planned: Plan,
    ) -> SimOrder:
        """Hold the money, or refuse; from here on the order exists."""
        hold = self._settlement.hold_of(request, planned)
        currency = self._settlement.spent_currency(request.symbol, request.side)
        if self.ledger.free(account_id, currency) < hold:
            raise SimRefusal(
                RefusalKind.INSUFFICIENT_BALANCE,
                "Account has insufficient balance for requested action.",
            )
        self.ledger.lock(account_id, currency, hold)
        now_ns = self.clock.time_ns()
        order = SimOrder(
            order_id=self._chronicle.next_order_id(),
            account_id=account_id,
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force,
            post_only=request.post_only,
            self_trade_prevention=request.self_trade_prevention,
            quantity=_quantity_of(request, planned, instrument.quantity_increment),
            quote_quantity=request.quote_quantity,
            price=request.price,
            status=SimStatus.NEW,
            created_ns=now_ns,
            updated_ns=now_ns,
            locked=hold,
        )
        return self._chronicle.tell(OrderEventKind.NEW, order)

    # -- inside: trading

    def _step(self, taker: SimOrder, step: Match | Prevention) -> SimOrder:
        resting = self._books[taker.symbol].opposite(taker.side)
        self._chronicle.touch(taker.symbol, resting.side, step.price)
        if isinstance(step, Prevention):
            return self._prevent(taker, step)
        trade_id = self._chronicle.print_trade(
            taker.symbol,
            step.price,
            step.quantity,
            taker.side,
            maker_order_id=step.maker_order_id,
            taker_order_id=taker.order_id,
        )
        if step.maker_order_id is None:
            resting.take_external(step.price, step.quantity)
        else:
            maker = self._register[step.maker_order_id]
            self._fill(maker, trade_id, step.price, step.quantity, maker=True)
        return self._fill(taker, trade_id, step.price, step.quantity, maker=False)

    def _prevent(self, taker: SimOrder, step: Prevention) -> SimOrder:
        maker = self._register[step.maker_order_id]
        if step.maker_quantity > 0:
            self._reduce(maker, step.maker_quantity)
        return self._reduce(taker, step.taker_quantity) if step.taker_quantity > 0 else taker

    def _reduce(self, order: SimOrder, quantity: Decimal) -> SimOrder:
        """Take a prevented quantity off; an order with nothing left ends."""
        order = replace(
            order,
            prevented_quantity=order.prevented_quantity + quantity,
            updated_ns=self.clock.time_ns(),
        )
        self._shrink(order)
        if order.remaining_quantity > 0:
            order = self._rehold(order)
            return self._chronicle.tell(
                OrderEventKind.PREVENTED, order, prevented_quantity=quantity
            )
        return self._close(
            order,
            SimStatus.EXPIRED_IN_MATCH,
            OrderEventKind.PREVENTED,
            prevented_quantity=quantity,
        )

    def _fill(
        self, order: SimOrder, trade_id: int, price: Decimal, quantity: Decimal, *, maker: bool
    ) -> SimOrder:
        """One side of a trade: money, order, event."""
        trade = self._settlement.trade_of(
            order, trade_id, price, quantity, maker=maker, at_ns=self.clock.time_ns()
        )
        spent = self._settlement.settle(trade)
        filled = replace(
            order,
            filled_quantity=order.filled_quantity + quantity,
            filled_notional=order.filled_notional + price * quantity,
            fees=order.fees + trade.fee,
            fee_currency=trade.fee_currency,
            locked=order.locked - spent,
            updated_ns=trade.at_ns,
        )
        done = filled.remaining_quantity <= 0
        status = SimStatus.FILLED if done else SimStatus.PARTIALLY_FILLED
        filled = self._rehold(replace(filled, status=status))
        self._shrink(filled)
        self._register.add_trade(trade)
        return self._chronicle.tell(OrderEventKind.TRADE, filled, trade=trade)

    def _rehold(self, order: SimOrder) -> SimOrder:
        """Free what an order no longer needs after a change."""
        needed = self._settlement.needed(order)
        self._settlement.release(order, order.locked - needed)
        return replace(order, locked=needed)

    def _end(self, order: SimOrder, planned: Plan) -> SimOrder:
        if not order.open:
            return order
        if planned.ending is Ending.RESTS:
            return self._rest(order)
        status = SimStatus(planned.ending.value)
        return self._close(order, status, OrderEventKind.EXPIRED, reason=planned.reason)

    def _rest(self, order: SimOrder) -> SimOrder:
        assert order.price is not None  # noqa: S101 - only limit orders rest
        side = self._books[order.symbol].side(order.side)
        side.rest(order.order_id, order.account_id, order.price, order.remaining_quantity)
        self._chronicle.touch(order.symbol, order.side, order.price)
        return self._chronicle.tell(OrderEventKind.RESTED, replace(order, rested=True))

    def _shrink(self, order: SimOrder) -> None:
        """Keep the book's copy of a resting order true."""
        if order.rested and order.price is not None:
            side = self._books[order.symbol].side(order.side)
            side.set_remaining(order.order_id, order.price, order.remaining_quantity)
            self._chronicle.touch(order.symbol, order.side, order.price)

    def _close(
        self,
        order: SimOrder,
        status: SimStatus,
        kind: OrderEventKind,
        *,
        reason: str | None = None,
        cancel_client_order_id: str | None = None,
        prevented_quantity: Decimal = ZERO,
    ) -> SimOrder:
        """End an order that is not filled: its hold is free, its place in the book too."""
        if order.rested and order.price is not None and order.remaining_quantity > 0:
            side = self._books[order.symbol].side(order.side)
            side.set_remaining(order.order_id, order.price, ZERO)
            self._chronicle.touch(order.symbol, order.side, order.price)
        self._settlement.release(order, order.locked)
        closed = replace(
            order, status=status, locked=ZERO, reason=reason, updated_ns=self.clock.time_ns()
        )
        return self._chronicle.tell(
            kind,
            closed,
            cancel_client_order_id=cancel_client_order_id,
            prevented_quantity=prevented_quantity,
        )

    # -- inside: external moves

    def _set_external(self, symbol: str, side: Side, price: Decimal, quantity: Decimal) -> None:
        book = self._books[symbol]
        own, opposite = book.side(side), book.opposite(side)
        own.set_external(price, quantity)
        self._chronicle.touch(symbol, side, price)
        if quantity <= 0 or opposite.best is None or not opposite.meets(opposite.best, price):
            return
        for stale in opposite.external_prices_meeting(price):
            opposite.set_external(stale, ZERO)
            self._chronicle.touch(symbol, opposite.side, stale)
        for maker_price in opposite.own_prices():
            if opposite.meets(maker_price, price):
                self._fill_from_level(symbol, side, price, maker_price)

    def _fill_from_level(self, symbol: str, side: Side, price: Decimal, at: Decimal) -> None:
        """An external level reached own orders at `at`."""
        book = self._books[symbol]
        for resting in book.opposite(side).own_at(at):
            quantity = min(resting.remaining, book.side(side).external(price))
            if quantity > 0:
                book.side(side).take_external(price, quantity)
                self._fill_maker(resting.order_id, at, quantity, side)

    def _fill_through(
        self, symbol: str, price: Decimal, quantity: Decimal, taker_side: Side
    ) -> Decimal:
        """Fill own orders that a public trade reached; returns what is left of the trade."""
        opposite = self._books[symbol].opposite(taker_side)
        left = quantity
        for maker_price in opposite.own_prices():
            if not opposite.meets(maker_price, price):
                break
            for slice_ in list(opposite.slices_at(maker_price)):
                taken = min(left, slice_.quantity)
                if taken <= 0:
                    return ZERO
                if slice_.order is not None:
                    self._fill_maker(slice_.order.order_id, maker_price, taken, taker_side)
                elif maker_price == price:
                    opposite.pass_ahead(price, taken)
                    self._chronicle.print_trade(symbol, price, taken, taker_side)
                else:  # the recording says that this trade did not take it
                    continue
                left -= taken
        return left

    def _fill_maker(self, order_id: int, price: Decimal, quantity: Decimal, taker: Side) -> None:
        order = self._register[order_id]
        trade_id = self._chronicle.print_trade(
            order.symbol, price, quantity, taker, maker_order_id=order_id
        )
        self._fill(order, trade_id, price, quantity, maker=True)

    def _new_account_id(self) -> str:
        """Above every account that ever had a key or money."""
        known = {key.account_id for key in self._keys.values()} | self.ledger.account_ids()
        return str(max(map(int, known), default=1000) + 1)


def _arrival(account_id: str, request: NewOrder, instrument: SimulatedInstrument) -> Arrival:
    market = request.order_type is OrderType.MARKET
    return Arrival(
        account_id=account_id,
        side=request.side,
        quantity=request.quantity,
        budget=request.quote_quantity,
        limit=None if market else request.price,
        time_in_force=TimeInForce.GTC if market else request.time_in_force,
        prevention=request.self_trade_prevention,
        quantity_increment=instrument.quantity_increment,
    )


def _quantity_of(request: NewOrder, planned: Plan, step: Decimal) -> Decimal:
    """What was asked; by quote quantity: what it comes to, one step more where the book ran out."""
    if request.quantity is not None:
        return request.quantity
    matched = (s.quantity if isinstance(s, Match) else s.taker_quantity for s in planned.steps)
    return sum(matched, ZERO if planned.ending is not Ending.EXPIRED else step)
