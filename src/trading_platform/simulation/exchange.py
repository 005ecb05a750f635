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

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_DOWN, Decimal

from msgspec.structs import replace

from trading_platform.kit.clock import Clock
from trading_platform.market.orders import OrderType, Side, TimeInForce
from trading_platform.simulation.account import Ledger
from trading_platform.simulation.book import Book
from trading_platform.simulation.journal import Change, Journal, Wallet
from trading_platform.simulation.matching import Arrival, Ending, Match, Plan, Prevention, plan
from trading_platform.simulation.model import (
    ALL_PERMISSIONS,
    ZERO,
    BalanceEvent,
    BookChange,
    FeeRule,
    NewOrder,
    OrderEvent,
    OrderEventKind,
    PublicTrade,
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
from trading_platform.simulation.tape import Tape

_COMMISSION_STEP = Decimal("0.00000001")
_FIRST_ID = 1_000_000
_UNSEEN_TRADES = 1_000_000  # public trades after the last own one are not journaled

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
        self._journal = journal
        self._closed_orders_max = closed_orders_max
        self._books = {symbol: Book() for symbol in self.instruments}
        self._tapes = {symbol: Tape() for symbol in self.instruments}
        self._halted: set[str] = set()
        self._keys: dict[str, SimKey] = {}
        self._orders: dict[int, SimOrder] = {}
        self._open: dict[int, None] = {}
        self._closed: deque[int] = deque()
        self._by_client_id: dict[tuple[str, str], int] = {}
        self._trades: dict[int, list[SimTrade]] = {}
        self._trade_ids = dict.fromkeys(self.instruments, _FIRST_ID)
        self._next_order_id = _FIRST_ID + 1
        self._next_execution_id = 1
        self._listeners: list[Callable[[SimEvent], None]] = []
        self._events: list[SimEvent] = []
        self._touched: dict[str, tuple[dict[Decimal, None], dict[Decimal, None]]] = {}
        self._changed_orders: dict[int, None] = {}
        self._changed_trades: list[SimTrade] = []
        if journal is not None:
            self._restore(journal)

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
        numbers = [int(key.account_id) for key in self._keys.values()]
        account_id = str(max(numbers, default=1000) + 1)
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
        self._commit(keys=(key,))  # one line: a crash leaves no account half funded
        return key

    def add_key(self, key: SimKey) -> None:
        """One more key, or new rights for a known one."""
        self._keys[key.api_key] = key
        self._write(Change(keys=(key,)))

    def revoke_key(self, api_key: str) -> None:
        """The key is refused from now on."""
        self._keys.pop(api_key, None)
        self._write(Change(revoked_keys=(api_key,)))

    def key(self, api_key: str) -> SimKey | None:
        """A live key."""
        return self._keys.get(api_key)

    def deposit(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Money from outside; a negative amount takes free money away."""
        self.ledger.credit(account_id, currency, amount)
        self._commit(SimBalance(currency=currency, free=amount, locked=ZERO))

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
        self._commit()
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
        self._commit()
        return canceled

    def order(self, account_id: str, order_id: int) -> SimOrder | None:
        """One order of the account."""
        order = self._orders.get(order_id)
        return order if order is not None and order.account_id == account_id else None

    def order_by_client_id(self, account_id: str, client_order_id: str) -> SimOrder | None:
        """The newest order with this client id."""
        order_id = self._by_client_id.get((account_id, client_order_id))
        return None if order_id is None else self._orders.get(order_id)

    def open_orders(self, account_id: str, symbol: str | None = None) -> list[SimOrder]:
        """Open orders, oldest first."""
        found = (self._orders[order_id] for order_id in self._open)
        return [o for o in found if o.account_id == account_id and symbol in (None, o.symbol)]

    def orders(self, account_id: str, symbol: str | None = None) -> list[SimOrder]:
        """All orders still remembered, oldest first."""
        found = self._orders.values()
        return [o for o in found if o.account_id == account_id and symbol in (None, o.symbol)]

    def trades(self, account_id: str, symbol: str | None = None) -> list[SimTrade]:
        """All executions of orders still remembered, in order of trade id."""
        found = [
            t for o in self.orders(account_id, symbol) for t in self._trades.get(o.order_id, ())
        ]
        return sorted(found, key=lambda trade: (trade.at_ns, trade.trade_id))

    def order_trades(self, order_id: int) -> list[SimTrade]:
        """The executions of one order."""
        return list(self._trades.get(order_id, ()))

    # -- the market

    def book(self, symbol: str) -> Book:
        """To read from; changes go through this exchange."""
        return self._books[symbol]

    def tape(self, symbol: str) -> Tape:
        """Public trades and candles."""
        return self._tapes[symbol]

    def reference_price(self, symbol: str, minutes: int = 5) -> Decimal | None:
        """Volume-weighted over the last minutes, else the last trade, else the middle of the
        book.
        """
        tape, book = self._tapes[symbol], self._books[symbol]
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
        self._commit()

    def replace_book(self, symbol: str, bids: Levels, asks: Levels) -> None:
        """A snapshot: everything external that it does not name is gone."""
        book, snapshot = self._books[symbol], {Side.BUY: dict(bids), Side.SELL: dict(asks)}
        for side, wanted in snapshot.items():
            for price in list(book.side(side).external_prices()):
                if price not in wanted:
                    self._set_external(symbol, side, price, ZERO)
        for side, wanted in snapshot.items():
            for price, quantity in wanted.items():
                if book.side(side).external(price) != quantity:
                    self._set_external(symbol, side, price, quantity)
        self._commit(replaced=True)

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
            if trade_id is not None and trade_id > self._trade_ids[symbol]:
                self._trade_ids[symbol] = trade_id - 1
            self._print(symbol, self._next_trade_id(symbol), price, left, taker_side)
        self._commit()

    # -- listeners

    def listen(self, callback: Callable[[SimEvent], None]) -> Callable[[], None]:
        """Call back with every event, in order; returns what stops it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

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
        hold = self._hold_of(request, planned)
        currency = _spent_currency(instrument, request.side)
        if self.ledger.free(account_id, currency) < hold:
            raise SimRefusal(
                RefusalKind.INSUFFICIENT_BALANCE,
                "Account has insufficient balance for requested action.",
            )
        self.ledger.lock(account_id, currency, hold)
        now_ns = self.clock.time_ns()
        order = SimOrder(
            order_id=self._next_order_id,
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
        self._next_order_id += 1
        self._by_client_id[account_id, order.client_order_id] = order.order_id
        self._open[order.order_id] = None
        return self._tell(OrderEventKind.NEW, order)

    def _hold_of(self, request: NewOrder, planned: Plan) -> Decimal:
        if request.price is not None and request.order_type is OrderType.LIMIT:
            return self._hold(request.side, request.quantity or ZERO, request.price)
        matches = (step for step in planned.steps if isinstance(step, Match))
        return sum((self._hold(request.side, m.quantity, m.price) for m in matches), ZERO)

    def _hold(self, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """What must be locked so that this much can always be paid."""
        if side is Side.SELL:
            return quantity
        if self.fee_rule is FeeRule.RECEIVED:
            return quantity * price
        return quantity * price * (1 + max(self.fee_maker, self.fee_taker))

    # -- inside: trading

    def _step(self, taker: SimOrder, step: Match | Prevention) -> SimOrder:
        resting = self._books[taker.symbol].opposite(taker.side)
        self._touch(taker.symbol, resting.side, step.price)
        if isinstance(step, Prevention):
            return self._prevent(taker, step)
        trade_id = self._next_trade_id(taker.symbol)
        self._print(
            taker.symbol,
            trade_id,
            step.price,
            step.quantity,
            taker.side,
            maker_order_id=step.maker_order_id,
            taker_order_id=taker.order_id,
        )
        if step.maker_order_id is None:
            resting.take_external(step.price, step.quantity)
        else:
            maker = self._orders[step.maker_order_id]
            self._fill(maker, trade_id, step.price, step.quantity, maker=True)
        return self._fill(taker, trade_id, step.price, step.quantity, maker=False)

    def _prevent(self, taker: SimOrder, step: Prevention) -> SimOrder:
        maker = self._orders[step.maker_order_id]
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
            return self._tell(OrderEventKind.PREVENTED, order, prevented_quantity=quantity)
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
        instrument = self.instruments[order.symbol]
        trade = SimTrade(
            trade_id=trade_id,
            symbol=order.symbol,
            order_id=order.order_id,
            account_id=order.account_id,
            side=order.side,
            price=price,
            quantity=quantity,
            fee=self._fee(order.side, price, quantity, maker),
            fee_currency=self._fee_currency(instrument, order.side),
            maker=maker,
            at_ns=self.clock.time_ns(),
        )
        spent = self._settle(instrument, trade)
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
        filled = replace(filled, status=SimStatus.FILLED if done else SimStatus.PARTIALLY_FILLED)
        filled = self._rehold(filled)
        self._shrink(filled)
        if done:
            self._leave(filled)
        self._trades.setdefault(order.order_id, []).append(trade)
        self._changed_trades.append(trade)
        return self._tell(OrderEventKind.TRADE, filled, trade=trade)

    def _settle(self, instrument: SimulatedInstrument, trade: SimTrade) -> Decimal:
        """Move the money of one side; returns what was paid from the hold."""
        account_id, notional = trade.account_id, trade.price * trade.quantity
        in_quote = trade.fee_currency == instrument.quote
        if trade.side is Side.BUY:
            spent = notional + (trade.fee if in_quote else ZERO)
            self.ledger.spend_locked(account_id, instrument.quote, spent)
            received = trade.quantity - (ZERO if in_quote else trade.fee)
            self.ledger.credit(account_id, instrument.base, received)
        else:
            spent = trade.quantity
            self.ledger.spend_locked(account_id, instrument.base, spent)
            self.ledger.credit(account_id, instrument.quote, notional - trade.fee)
        sign = 1 if trade.side is Side.BUY else -1
        self.ledger.pay_external(instrument.quote, sign * notional)
        self.ledger.pay_external(instrument.base, -sign * trade.quantity)
        self.ledger.pay_fee(trade.fee_currency, trade.fee)
        return spent

    def _fee(self, side: Side, price: Decimal, quantity: Decimal, maker: bool) -> Decimal:
        rate = self.fee_maker if maker else self.fee_taker
        if self.fee_rule is FeeRule.QUOTE:
            return price * quantity * rate
        received = quantity if side is Side.BUY else price * quantity
        return (received * rate).quantize(_COMMISSION_STEP, ROUND_DOWN)

    def _fee_currency(self, instrument: SimulatedInstrument, side: Side) -> str:
        if side is Side.BUY and self.fee_rule is FeeRule.RECEIVED:
            return instrument.base
        return instrument.quote

    def _rehold(self, order: SimOrder) -> SimOrder:
        """Free what a resting order no longer needs after a change."""
        if order.price is None or order.order_type is OrderType.MARKET:
            needed = order.locked if order.status is not SimStatus.FILLED else ZERO
        else:
            needed = self._hold(order.side, order.remaining_quantity, order.price)
        self._release(order, order.locked - needed)
        return replace(order, locked=needed)

    def _release(self, order: SimOrder, amount: Decimal) -> None:
        if amount:
            currency = _spent_currency(self.instruments[order.symbol], order.side)
            self.ledger.unlock(order.account_id, currency, amount)

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
        self._touch(order.symbol, order.side, order.price)
        return self._tell(OrderEventKind.RESTED, replace(order, rested=True))

    def _shrink(self, order: SimOrder) -> None:
        """Keep the book's copy of a resting order true."""
        if order.rested and order.price is not None:
            side = self._books[order.symbol].side(order.side)
            side.set_remaining(order.order_id, order.price, order.remaining_quantity)
            self._touch(order.symbol, order.side, order.price)

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
            self._touch(order.symbol, order.side, order.price)
        self._release(order, order.locked)
        closed = replace(
            order, status=status, locked=ZERO, reason=reason, updated_ns=self.clock.time_ns()
        )
        self._leave(closed)
        return self._tell(
            kind,
            closed,
            cancel_client_order_id=cancel_client_order_id,
            prevented_quantity=prevented_quantity,
        )

    def _leave(self, order: SimOrder) -> None:
        self._open.pop(order.order_id, None)
        self._closed.append(order.order_id)

    # -- inside: external moves

    def _set_external(self, symbol: str, side: Side, price: Decimal, quantity: Decimal) -> None:
        book = self._books[symbol]
        own, opposite = book.side(side), book.opposite(side)
        own.set_external(price, quantity)
        self._touch(symbol, side, price)
        if quantity <= 0 or opposite.best is None or not opposite.meets(opposite.best, price):
            return
        for stale in opposite.external_prices_meeting(price):
            opposite.set_external(stale, ZERO)
            self._touch(symbol, opposite.side, stale)
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
            if not opposite.meets(maker_price, price) or left <= 0:
                break
            for slice_ in list(opposite.slices_at(maker_price)):
                taken = min(left, slice_.quantity)
                if slice_.order is None:
                    if maker_price == price:
                        opposite.pass_ahead(price, taken)
                        self._print(symbol, self._next_trade_id(symbol), price, taken, taker_side)
                        left -= taken
                elif taken > 0:
                    self._fill_maker(slice_.order.order_id, maker_price, taken, taker_side)
                    left -= taken
        return left

    def _fill_maker(self, order_id: int, price: Decimal, quantity: Decimal, taker: Side) -> None:
        order = self._orders[order_id]
        trade_id = self._next_trade_id(order.symbol)
        self._print(order.symbol, trade_id, price, quantity, taker, maker_order_id=order_id)
        self._fill(order, trade_id, price, quantity, maker=True)

    # -- inside: telling

    def _next_trade_id(self, symbol: str) -> int:
        self._trade_ids[symbol] += 1
        return self._trade_ids[symbol]

    def _print(
        self,
        symbol: str,
        trade_id: int,
        price: Decimal,
        quantity: Decimal,
        taker_side: Side,
        *,
        maker_order_id: int | None = None,
        taker_order_id: int | None = None,
    ) -> None:
        trade = PublicTrade(
            trade_id=trade_id,
            symbol=symbol,
            price=price,
            quantity=quantity,
            taker_side=taker_side,
            at_ns=self.clock.time_ns(),
            maker_order_id=maker_order_id,
            taker_order_id=taker_order_id,
        )
        self._tapes[symbol].add(trade)
        self._events.append(trade)

    def _tell(
        self,
        kind: OrderEventKind,
        order: SimOrder,
        *,
        trade: SimTrade | None = None,
        cancel_client_order_id: str | None = None,
        prevented_quantity: Decimal = ZERO,
    ) -> SimOrder:
        """Keep the order's new value and queue the event."""
        self._orders[order.order_id] = order
        self._changed_orders[order.order_id] = None
        self._events.append(
            OrderEvent(
                kind=kind,
                order=order,
                execution_id=self._next_execution_id,
                at_ns=self.clock.time_ns(),
                trade=trade,
                cancel_client_order_id=cancel_client_order_id,
                prevented_quantity=prevented_quantity,
            )
        )
        self._next_execution_id += 1
        return order

    def _touch(self, symbol: str, side: Side, price: Decimal) -> None:
        bids, asks = self._touched.setdefault(symbol, ({}, {}))
        (bids if side is Side.BUY else asks)[price] = None

    def _commit(
        self,
        deposit: SimBalance | None = None,
        *,
        keys: tuple[SimKey, ...] = (),
        replaced: bool = False,
    ) -> None:
        """Journal the operation, then tell everyone."""
        now_ns = self.clock.time_ns()
        for symbol, (bids, asks) in self._touched.items():
            self._events.append(self._book_change(symbol, bids, asks, now_ns, replaced))
        self._touched = {}
        wallets = self.ledger.drain()
        self._remember(wallets, keys)
        for account_id, balances in wallets.items():
            self._events.append(
                BalanceEvent(
                    account_id=account_id,
                    balances=tuple(balances),
                    at_ns=now_ns,
                    deposit=deposit,
                )
            )
        self._forget_old()
        events, self._events = self._events, []
        for event in events:
            for listener in tuple(self._listeners):
                listener(event)

    def _book_change(
        self,
        symbol: str,
        bids: Iterable[Decimal],
        asks: Iterable[Decimal],
        now_ns: int,
        replaced: bool,
    ) -> BookChange:
        book = self._books[symbol]
        changed_bids = tuple((price, book.bids.total(price)) for price in bids)
        changed_asks = tuple((price, book.asks.total(price)) for price in asks)
        first_id = book.update_id + 1
        book.update_id += len(changed_bids) + len(changed_asks)
        return BookChange(
            symbol=symbol,
            first_id=first_id,
            last_id=book.update_id,
            bids=changed_bids,
            asks=changed_asks,
            at_ns=now_ns,
            replaced=replaced,
        )

    def _remember(self, wallets: Mapping[str, list[SimBalance]], keys: tuple[SimKey, ...]) -> None:
        if not wallets and not self._changed_orders and not keys:
            return
        orders = tuple(self._orders[order_id] for order_id in self._changed_orders)
        trades = tuple(self._changed_trades)
        self._changed_orders, self._changed_trades = {}, []
        self._write(
            Change(
                keys=keys,
                orders=orders,
                trades=trades,
                wallets=tuple(Wallet(a, balance) for a, bs in wallets.items() for balance in bs),
                external=dict(self.ledger.external) if trades else {},
                fees=dict(self.ledger.fees) if trades else {},
                trade_ids={trade.symbol: self._trade_ids[trade.symbol] for trade in trades},
                next_order_id=self._next_order_id,
                next_execution_id=self._next_execution_id,
            )
        )

    def _write(self, change: Change) -> None:
        if self._journal is not None:
            self._journal.write(change)

    def _forget_old(self) -> None:
        while len(self._closed) > self._closed_orders_max:
            order = self._orders.pop(self._closed.popleft())
            self._trades.pop(order.order_id, None)
            client_key = (order.account_id, order.client_order_id)
            if self._by_client_id.get(client_key) == order.order_id:
                del self._by_client_id[client_key]

    def _restore(self, journal: Journal) -> None:
        memory = journal.memory
        self._keys = dict(memory.keys)
        for (account_id, _), wallet in memory.wallets.items():
            self.ledger.restore(account_id, wallet.balance)
        self.ledger.external, self.ledger.fees = dict(memory.external), dict(memory.fees)
        for symbol, trade_id in memory.trade_ids.items():
            self._trade_ids[symbol] = trade_id + _UNSEEN_TRADES
        self._next_order_id = max(self._next_order_id, memory.next_order_id)
        self._next_execution_id = max(self._next_execution_id, memory.next_execution_id)
        for trade in memory.trades:
            self._trades.setdefault(trade.order_id, []).append(trade)
        for order_id, order in sorted(memory.orders.items()):
            self._orders[order_id] = order
            self._by_client_id[order.account_id, order.client_order_id] = order_id
            self._restore_place(order)

    def _restore_place(self, order: SimOrder) -> None:
        if not order.open:
            self._closed.append(order.order_id)
        elif order.price is not None and order.symbol in self._books:
            self._open[order.order_id] = None
            side = self._books[order.symbol].side(order.side)
            side.rest(order.order_id, order.account_id, order.price, order.remaining_quantity)


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


def _spent_currency(instrument: SimulatedInstrument, side: Side) -> str:
    return instrument.quote if side is Side.BUY else instrument.base
