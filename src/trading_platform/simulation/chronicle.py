"""What one operation did: journaled as one line, then told to every listener in exchange order.

1. Nobody hears of an operation before the journal has it.
2. Order events and public trades come first, then the book's changes, then the balances.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from trading_platform.kit.clock import Clock
from trading_platform.market.orders import Side
from trading_platform.simulation.account import Ledger
from trading_platform.simulation.book import Book
from trading_platform.simulation.journal import Change, Journal, Wallet
from trading_platform.simulation.model import (
    ZERO,
    BalanceEvent,
    BookChange,
    OrderEvent,
    OrderEventKind,
    PublicTrade,
    SimBalance,
    SimEvent,
    SimKey,
    SimOrder,
    SimTrade,
)
from trading_platform.simulation.register import OrderRegister
from trading_platform.simulation.tape import Tape

_FIRST_ID = 1_000_000
_UNSEEN_TRADES = 1_000_000  # public trades after the last own one are not journaled


class Chronicle:
    """Gathers the events of the operation under way; `commit` ends it."""

    def __init__(
        self,
        *,
        clock: Clock,
        books: Mapping[str, Book],
        ledger: Ledger,
        register: OrderRegister,
        journal: Journal | None,
    ) -> None:
        self._clock, self._books, self._ledger = clock, books, ledger
        self._register, self._journal = register, journal
        self.tapes = {symbol: Tape() for symbol in books}
        self._trade_ids = dict.fromkeys(books, _FIRST_ID)
        self._last_order_id = _FIRST_ID
        self._next_execution_id = 1
        self._listeners: list[Callable[[SimEvent], None]] = []
        self._events: list[SimEvent] = []
        self._touched: dict[str, tuple[dict[Decimal, None], dict[Decimal, None]]] = {}

    def listen(self, callback: Callable[[SimEvent], None]) -> Callable[[], None]:
        """Call back with every event; returns what stops it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def next_order_id(self) -> int:
        """Never given twice, also across restarts."""
        self._last_order_id += 1
        return self._last_order_id

    def next_trade_id(self, symbol: str) -> int:
        """Grows by one with every trade of the symbol."""
        self._trade_ids[symbol] += 1
        return self._trade_ids[symbol]

    def jump_to_trade_id(self, symbol: str, trade_id: int) -> None:
        """Let the next trade have a recorded id where that is above all earlier ones."""
        self._trade_ids[symbol] = max(self._trade_ids[symbol], trade_id - 1)

    def print_trade(
        self,
        symbol: str,
        price: Decimal,
        quantity: Decimal,
        taker_side: Side,
        *,
        maker_order_id: int | None = None,
        taker_order_id: int | None = None,
    ) -> int:
        """A public trade happened; returns its id."""
        trade = PublicTrade(
            trade_id=self.next_trade_id(symbol),
            symbol=symbol,
            price=price,
            quantity=quantity,
            taker_side=taker_side,
            at_ns=self._clock.time_ns(),
            maker_order_id=maker_order_id,
            taker_order_id=taker_order_id,
        )
        self.tapes[symbol].add(trade)
        self._events.append(trade)
        return trade.trade_id

    def tell(
        self,
        kind: OrderEventKind,
        order: SimOrder,
        *,
        trade: SimTrade | None = None,
        cancel_client_order_id: str | None = None,
        prevented_quantity: Decimal = ZERO,
    ) -> SimOrder:
        """Keep the order's new value and queue the event."""
        self._register.put(order)
        self._events.append(
            OrderEvent(
                kind=kind,
                order=order,
                execution_id=self._next_execution_id,
                at_ns=self._clock.time_ns(),
                trade=trade,
                cancel_client_order_id=cancel_client_order_id,
                prevented_quantity=prevented_quantity,
            )
        )
        self._next_execution_id += 1
        return order

    def touch(self, symbol: str, side: Side, price: Decimal) -> None:
        """A level of the book changed."""
        bids, asks = self._touched.setdefault(symbol, ({}, {}))
        (bids if side is Side.BUY else asks)[price] = None

    def commit(
        self,
        deposit: SimBalance | None = None,
        *,
        keys: tuple[SimKey, ...] = (),
        revoked_keys: tuple[str, ...] = (),
        replaced: bool = False,
    ) -> None:
        """Journal the operation, then tell everyone."""
        now_ns = self._clock.time_ns()
        for symbol, (bids, asks) in self._touched.items():
            self._events.append(self._book_change(symbol, bids, asks, now_ns, replaced))
        self._touched = {}
        wallets = self._ledger.drain()
        self._remember(wallets, keys, revoked_keys)
        self._events.extend(
            BalanceEvent(
                account_id=account_id, balances=tuple(balances), at_ns=now_ns, deposit=deposit
            )
            for account_id, balances in wallets.items()
        )
        events, self._events = self._events, []
        for event in events:
            for listener in tuple(self._listeners):
                listener(event)

    def restore(self, journal: Journal) -> None:
        """Take over ids, orders, executions and money as they were."""
        memory = journal.memory
        for (account_id, _), wallet in memory.wallets.items():
            self._ledger.restore(account_id, wallet.balance)
        self._ledger.external, self._ledger.fees = dict(memory.external), dict(memory.fees)
        for symbol, trade_id in memory.trade_ids.items():
            self._trade_ids[symbol] = trade_id + _UNSEEN_TRADES
        self._last_order_id = max(self._last_order_id, memory.last_order_id)
        self._next_execution_id = max(self._next_execution_id, memory.next_execution_id)
        for order in sorted(memory.orders.values(), key=lambda order: order.order_id):
            self._register.put(order)
            self._restore_place(order)
        for trade in memory.trades:
            self._register.add_trade(trade)
        self._register.drain()  # the journal has them

    def _restore_place(self, order: SimOrder) -> None:
        if order.open and order.price is not None and order.symbol in self._books:
            side = self._books[order.symbol].side(order.side)
            side.rest(order.order_id, order.account_id, order.price, order.remaining_quantity)

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

    def _remember(
        self,
        wallets: Mapping[str, list[SimBalance]],
        keys: tuple[SimKey, ...],
        revoked_keys: tuple[str, ...],
    ) -> None:
        orders, trades = self._register.drain()
        if self._journal is None or not (wallets or orders or keys or revoked_keys):
            return
        self._journal.write(
            Change(
                keys=keys,
                revoked_keys=revoked_keys,
                orders=orders,
                trades=trades,
                wallets=tuple(Wallet(a, balance) for a, bs in wallets.items() for balance in bs),
                external=dict(self._ledger.external) if trades else {},
                fees=dict(self._ledger.fees) if trades else {},
                trade_ids={trade.symbol: self._trade_ids[trade.symbol] for trade in trades},
                last_order_id=self._last_order_id,
                next_execution_id=self._next_execution_id,
            )
        )
