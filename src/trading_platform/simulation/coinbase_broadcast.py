"""What happens at the simulated Coinbase Exchange, told to the sessions of its feed.

`sequence` grows with every public message of a product's full feed, whether anyone hears it; the
owner's copies repeat it.
"""

from collections.abc import Iterable
from functools import partial

from trading_platform.simulation import coinbase_answers as answers
from trading_platform.simulation import coinbase_messages as messages
from trading_platform.simulation.coinbase_answers import DAY_MS, Json
from trading_platform.simulation.coinbase_messages import Change
from trading_platform.simulation.coinbase_orders import OrderDesk, Received, public_ids
from trading_platform.simulation.coinbase_session import Audience
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import (
    BookChange,
    OrderEvent,
    OrderEventKind,
    PublicTrade,
    SimEvent,
    SimOrder,
    SimStatus,
)
from trading_platform.simulation.tape import TapeCandle

BATCH_S = 0.05
TICKER_BATCH_S = 5.0
STATUS_ROUNDS = 6
"""The status channel speaks every sixth ticker batch: every 30 s."""


class Broadcast:
    """Turns the exchange's events, and the passing of time, into frames."""

    def __init__(self, exchange: SimulatedExchange, desk: OrderDesk, audience: Audience) -> None:
        self._exchange = exchange
        self._desk = desk
        self._clock = exchange.clock
        self._audience = audience
        self._sequence = dict.fromkeys(exchange.instruments, 1_000_000)
        self._last_match: Json = {}
        self._batches: dict[str, dict[tuple[str, object], Change]] = {}
        self._day: dict[str, tuple[int, TapeCandle | None]] = {}
        self._batched_tickers: dict[str, int] = {}
        self.close = exchange.listen(self._on_event)

    def sequence(self, symbol: str) -> int:
        """The last sequence number of a product."""
        return self._sequence[symbol]

    def _on_event(self, event: SimEvent) -> None:
        if isinstance(event, PublicTrade):
            self._on_trade(event)
        elif isinstance(event, BookChange):
            self._on_book(event)
        elif isinstance(event, OrderEvent):
            self._on_order(event)

    def _on_trade(self, trade: PublicTrade) -> None:
        sequence = self._next_sequence(trade.symbol)
        self._last_match = messages.match(trade, self.parties(trade), sequence)
        self._audience.publish(("matches", "full"), trade.symbol, lambda: self._last_match)
        self._audience.publish(("ticker",), trade.symbol, lambda: self.ticker(trade))

    def _on_book(self, change: BookChange) -> None:
        self._sequence[change.symbol] += change.last_id - change.first_id + 1
        changes: list[Change] = [("buy", p, q) for p, q in change.bids]
        changes += [("sell", p, q) for p, q in change.asks]
        instrument = self._exchange.instruments[change.symbol]
        self._audience.publish(
            ("level2",),
            change.symbol,
            lambda: messages.l2update(instrument, changes, change.at_ns),
        )
        if self._audience.listening("level2_batch", change.symbol):
            batch = self._batches.setdefault(change.symbol, {})
            batch.update({(side, price): (side, price, q) for side, price, q in changes})

    def _on_order(self, event: OrderEvent) -> None:
        order = event.order
        if event.kind is OrderEventKind.TRADE:
            self._audience.tell_owner(order.account_id, order.symbol, self._own_match(event))
        else:
            for message in self._of_order(event):
                self._tell(order, message)
        if order.status is SimStatus.FILLED and event.kind is OrderEventKind.TRADE:
            sequence = self._next_sequence(order.symbol)
            self._tell(order, messages.done(order, sequence, event.at_ns))

    def _of_order(self, event: OrderEvent) -> Iterable[Json]:
        order, at_ns = event.order, event.at_ns
        sequence = self._next_sequence(order.symbol)
        if event.kind is OrderEventKind.NEW:
            yield messages.received(order, sequence, at_ns)
        elif event.kind is OrderEventKind.RESTED:
            yield messages.opened(order, sequence, at_ns)
        elif not order.open:
            yield messages.done(order, sequence, at_ns)
        elif order.rested:
            yield messages.changed(order, event.prevented_quantity, sequence, at_ns)

    def refuse(self, order: Received) -> None:
        """Tell the owner that the engine did not want an order it had received."""
        sequence = self._next_sequence(order.request.symbol)
        for message in messages.refused(order, sequence, self._clock.time_ns()):
            client_oid = order.client_oid if message["type"] == "received" else None
            own = messages.own(message, order.account_id, client_oid)
            self._audience.tell_owner(order.account_id, order.request.symbol, own)

    def _tell(self, order: SimOrder, public: Json) -> None:
        self._audience.publish(("full",), order.symbol, lambda: public)
        client_oid = public_ids(order)[1] if public["type"] == "received" else None
        own = messages.own(public, order.account_id, client_oid)
        if own["type"] == "done":
            own |= messages.cancel_reason(order)
        self._audience.tell_owner(order.account_id, order.symbol, own)

    # -- what comes by the clock

    async def run_heartbeats(self) -> None:
        """One frame a product and second, on the second."""
        while True:
            await self._clock.sleep(1 - self._clock.time_ns() % 1_000_000_000 / 1e9)
            second = self._clock.time_ns() // 1_000_000_000
            for symbol in self._exchange.instruments:
                last = self._exchange.tape(symbol).last
                beat = messages.heartbeat(
                    symbol, last.trade_id if last else 0, self._sequence[symbol], second
                )
                self._audience.publish(("heartbeat",), symbol, partial(dict, beat))

    async def run_batches(self) -> None:
        """level2_batch: what changed in the last 50 ms."""
        while True:
            await self._clock.sleep(BATCH_S)
            batches, self._batches = self._batches, {}
            for symbol, changes in batches.items():
                update = messages.l2update(
                    self._exchange.instruments[symbol], changes.values(), self._clock.time_ns()
                )
                self._audience.publish(("level2_batch",), symbol, partial(dict, update))

    async def run_slow_channels(self) -> None:
        """ticker_batch every five seconds if there was a trade, status every thirty."""
        rounds = 0
        while True:
            await self._clock.sleep(TICKER_BATCH_S)
            rounds += 1
            for symbol in self._exchange.instruments:
                last = self._exchange.tape(symbol).last
                if last is not None and self._batched_tickers.get(symbol) != last.trade_id:
                    self._batched_tickers[symbol] = last.trade_id
                    self._audience.publish(("ticker_batch",), symbol, partial(self.ticker, last))
            if rounds % STATUS_ROUNDS == 0:
                for session in list(self._audience.listening("status")):
                    session.send(self.status())

    # -- rendering with memory

    def _next_sequence(self, symbol: str) -> int:
        self._sequence[symbol] += 1
        return self._sequence[symbol]

    def parties(self, trade: PublicTrade) -> tuple[str, str]:
        """Maker and taker order id."""
        maker = self._desk.public_id(trade.maker_order_id)
        taker = self._desk.public_id(trade.taker_order_id)
        return messages.party(trade, "maker", maker), messages.party(trade, "taker", taker)

    def _own_match(self, event: OrderEvent) -> Json:
        """The public match that came just before, with the owner's side of it."""
        maker = event.trade is not None and event.trade.maker
        rate = self._exchange.fee_maker if maker else self._exchange.fee_taker
        return messages.own_match(self._last_match, event, rate)

    def ticker(self, trade: PublicTrade) -> Json:
        """The ticker message of a trade."""
        book = self._exchange.book(trade.symbol)
        return messages.ticker(
            trade, book, self._day_of(trade.symbol), self._sequence[trade.symbol]
        )

    def _day_of(self, symbol: str) -> TapeCandle | None:
        """Sums of the day, summed up at most once a second."""
        now_ms = self._clock.time_ns() // 1_000_000
        at_ms, day = self._day.get(symbol, (-1000, None))
        if now_ms - at_ms >= 1000:
            day = self._exchange.tape(symbol).window(now_ms - DAY_MS)
            self._day[symbol] = (now_ms, day)
        return day

    def status(self) -> str:
        """The frame of the status channel."""
        instruments = self._exchange.instruments.values()
        products = [
            answers.product(i, trading=self._exchange.is_trading(i.symbol)) for i in instruments
        ]
        listed = [answers.currency(name) for name in answers.currencies(instruments)]
        return messages.frame(messages.status(products, listed))
