"""One symbol of one exchange, updated in place for every message, and the sink that finds it.

This is the hot path: one dict look-up, plain attributes, the time read once a batch. Whatever is
unusual (an unexpected trade id, a price far off, a new second) goes to a method of its own.

1. Every trade counts once in the rolling VWAP: sums are kept per second, never subtracted, so
   nothing drifts. A doubled trade id does not count again.
2. The newest quote always stands. A quote older by the exchange's own time is refused, for at most
   `_LATE_NS` after the newer one, so that one wrong timestamp cannot silence a source.
3. A trade far from the last is refused unless the book or three such trades in a row confirm it.
4. After a gap a source knows nothing until it is heard again.
"""

from collections import deque
from collections.abc import Callable, Mapping
from math import fsum, inf

from trading_platform.market.instruments import ExchangeId
from trading_platform.prices.clocks import OffsetEstimate
from trading_platform.prices.model import Reading

WINDOW_S = 30
_SLOT_NS = 1_000_000_000
_LATE_NS = 1_000_000_000
_TRADE_DELAY_KNOWN_NS = 2_000_000_000
_JUMP = 0.10
_CONFIRMATIONS = 3


class Source:
    """What one exchange says of one symbol; changed in place by its sink."""

    __slots__ = (
        "_far",
        "_far_run",
        "_slot",
        "_window",
        "ask",
        "bid",
        "changed",
        "exchange_id",
        "last",
        "missed_trades",
        "notional",
        "price_high",
        "price_low",
        "quantity",
        "quote_event_ns",
        "quoted_ns",
        "refused",
        "slot_end_ns",
        "symbol",
        "synthetic",
        "trade_event_ns",
        "trade_id_next",
        "traded_ns",
    )

    def __init__(self, exchange_id: ExchangeId, symbol: str, *, synthetic: bool = False) -> None:
        self.exchange_id = exchange_id
        self.symbol = symbol
        self.synthetic = synthetic
        self.changed = False
        self.bid = self.ask = self.last = 0.0
        self.quoted_ns = self.quote_event_ns = 0
        self.traded_ns = self.trade_event_ns = self.trade_id_next = 0
        self.price_low, self.price_high = 0.0, inf
        self.notional = self.quantity = 0.0
        self.slot_end_ns = self._slot = 0
        self._window: deque[tuple[int, float, float]] = deque(maxlen=4 * WINDOW_S)
        self._far, self._far_run = 0.0, 0
        self.missed_trades = self.refused = 0

    def forget(self) -> None:
        """Messages were missed: nothing is known until the next one."""
        self.quoted_ns = self.quote_event_ns = self.traded_ns = 0
        self.price_low, self.price_high = 0.0, inf
        self.slot_end_ns = 0
        self.changed = True

    def admits_quote(self, bid: float, ask: float, event_ns: int, now_ns: int) -> bool:
        """Whether a quote that looked wrong at first is to be taken all the same."""
        well_formed = 0.0 < bid <= ask < inf
        late = bool(event_ns) and now_ns - self.quoted_ns < _LATE_NS
        if well_formed and not late:
            return True
        self.refused += 1
        return False

    def admits_trade(
        self, price: float, quantity: float, trade_id: int, event_ns: int, now_ns: int
    ) -> bool:
        """Whether a trade that is unusual in some way counts."""
        if now_ns >= self.slot_end_ns:
            self._next_slot(now_ns)
        admitted = (
            0.0 < price < inf
            and 0.0 < quantity < inf
            and self._is_next(trade_id, event_ns, now_ns)
            and self._is_near(price)
        )
        self.refused += not admitted
        return admitted

    def _is_next(self, trade_id: int, event_ns: int, now_ns: int) -> bool:
        expected = self.trade_id_next
        if trade_id == expected or not trade_id:
            return True
        if trade_id < expected and event_ns <= self.trade_event_ns:
            return False  # doubled; a lower id with a later time is an exchange that began anew
        self.trade_id_next = trade_id + 1
        if trade_id > expected > 0:
            self.missed_trades += trade_id - expected
        # The first trade after a subscription may be the last one of a quiet market, long ago.
        return not event_ns or now_ns - event_ns < WINDOW_S * _SLOT_NS

    def _is_near(self, price: float) -> bool:
        if self.price_low < price < self.price_high:
            if self.price_high == inf:
                self._centre(price)
            return True
        if self.quoted_ns and self.bid * (1 - _JUMP) < price < self.ask * (1 + _JUMP):
            confirmed = True
        else:
            again = abs(price - self._far) <= _JUMP * price
            self._far, self._far_run = price, self._far_run + 1 if again else 1
            confirmed = self._far_run >= _CONFIRMATIONS
        if confirmed:
            self._centre(price)
        return confirmed

    def _centre(self, price: float) -> None:
        self.price_low, self.price_high = price * (1 - _JUMP), price * (1 + _JUMP)
        self._far_run = 0

    def _next_slot(self, now_ns: int) -> None:
        if self.quantity:
            self._window.append((self._slot, self.notional, self.quantity))
        self.notional = self.quantity = 0.0
        self._slot = now_ns // _SLOT_NS
        self.slot_end_ns = (self._slot + 1) * _SLOT_NS
        if not self.traded_ns:
            return
        if now_ns - self.traded_ns < WINDOW_S * _SLOT_NS:
            self.price_low, self.price_high = self.last * (1 - _JUMP), self.last * (1 + _JUMP)
        else:  # what was near half a minute ago says nothing now
            self.price_low, self.price_high = 0.0, inf

    def traded(self, now_ns: int) -> tuple[float | None, float]:
        """(VWAP, base quantity) over the last `WINDOW_S` seconds of arrivals."""
        oldest = now_ns // _SLOT_NS - WINDOW_S
        window = self._window
        while window and window[0][0] <= oldest:
            window.popleft()
        current = self._slot > oldest
        quantity = fsum([slot[2] for slot in window]) + (self.quantity if current else 0.0)
        if not quantity:
            return None, 0.0
        notional = fsum([slot[1] for slot in window]) + (self.notional if current else 0.0)
        return notional / quantity, quantity

    def reading(self, now_ns: int, offset_ns: int, alive_ns: int) -> Reading:
        """What stands now, as a value; `offset_ns` is the exchange's clock offset to ours."""
        vwap, volume = self.traded(now_ns)
        trade_delay_ns = _delay_ns(self.traded_ns, self.trade_event_ns, offset_ns)
        if self.quote_event_ns:
            quote_delay_ns = _delay_ns(self.quoted_ns, self.quote_event_ns, offset_ns)
        else:  # no time of its own: as late as the trades that came with it
            together = self.traded_ns > self.quoted_ns - _TRADE_DELAY_KNOWN_NS
            quote_delay_ns = trade_delay_ns if together else 0
        return Reading(
            exchange_id=self.exchange_id,
            symbol=self.symbol,
            bid=self.bid,
            ask=self.ask,
            quoted_ns=self.quoted_ns,
            quote_delay_ns=quote_delay_ns,
            last=self.last,
            traded_ns=self.traded_ns,
            trade_delay_ns=trade_delay_ns,
            vwap=vwap,
            volume=volume,
            alive_ns=alive_ns,
            synthetic=self.synthetic,
        )


def _delay_ns(arrived_ns: int, event_ns: int, offset_ns: int) -> int:
    return arrived_ns - event_ns - offset_ns if arrived_ns and event_ns else 0


class ExchangeSink:
    """Takes one exchange's decoded stream (exchanges/ports.py, MarketSink)."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        time_ns: Callable[[], int],
        after_batch: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        """`sources` by exchange symbol; `time_ns` is our wall clock.

        `after_batch` (an event loop's `call_soon`) runs something once the messages that were read
        together have been taken: they share one reading of the time. Without it each has its own.
        """
        self._sources = sources
        self._time_ns = time_ns
        self._after_batch = after_batch
        self._now_ns = 0
        self._offset = OffsetEstimate()
        self._heartbeat_ns = 0
        self.messages = 0
        self.strangers = 0
        self.gaps = 0
        self.gap_reason: str | None = None

    def on_quote(
        self,
        exchange_symbol: str,
        bid: float,
        bid_quantity: float,
        ask: float,
        ask_quantity: float,
        event_ns: int,
    ) -> None:
        """The best bid and ask changed."""
        source = self._sources.get(exchange_symbol)
        if source is None:
            self.strangers += 1
            return
        self.messages += 1
        now_ns = self._now_ns or self._read_time()
        if (
            not 0.0 < bid <= ask < inf or event_ns < source.quote_event_ns
        ) and not source.admits_quote(bid, ask, event_ns, now_ns):
            return
        source.bid = bid
        source.ask = ask
        source.quote_event_ns = event_ns
        source.quoted_ns = now_ns
        source.changed = True

    def on_trade(
        self,
        exchange_symbol: str,
        price: float,
        quantity: float,
        taker_is_buyer: bool,
        trade_id: int,
        event_ns: int,
    ) -> None:
        """A public trade happened."""
        source = self._sources.get(exchange_symbol)
        if source is None:
            self.strangers += 1
            return
        self.messages += 1
        now_ns = self._now_ns or self._read_time()
        if (
            trade_id != source.trade_id_next
            or now_ns >= source.slot_end_ns
            or not source.price_low < price < source.price_high
            or not 0.0 < quantity < inf
        ) and not source.admits_trade(price, quantity, trade_id, event_ns, now_ns):
            return
        source.trade_id_next = trade_id + 1
        source.notional += price * quantity
        source.quantity += quantity
        source.last = price
        source.trade_event_ns = event_ns
        source.traded_ns = now_ns
        source.changed = True

    def on_heartbeat(self, exchange_symbol: str, event_ns: int) -> None:
        """The exchange lives; says nothing of a price."""
        self._heartbeat_ns = self._time_ns()

    def on_gap(self, reason: str) -> None:
        """Messages were missed: every source is unknown until it is heard again."""
        self.gaps += 1
        self.gap_reason = reason
        self._heartbeat_ns = 0
        for source in self._sources.values():
            source.forget()

    def _read_time(self) -> int:
        now_ns = self._time_ns()
        if self._after_batch is not None:
            self._now_ns = now_ns
            self._after_batch(self._end_batch)
        return now_ns

    def _end_batch(self) -> None:
        self._now_ns = 0

    def alive_ns(self) -> int:
        """When anything was last heard since the last gap; 0 for never."""
        heard = (max(s.quoted_ns, s.traded_ns) for s in self._sources.values())
        return max(self._heartbeat_ns, max(heard, default=0))

    def offset_ns(self, now_ns: int) -> int:
        """How far our arrivals trail the exchange's clock at best; learns from what is new.

        Called once a publication, not once a message: a minimum needs samples, not all.
        """
        for source in self._sources.values():
            if source.changed:
                if source.quote_event_ns and source.quoted_ns:
                    self._offset.learn(source.quoted_ns - source.quote_event_ns, now_ns)
                if source.trade_event_ns and source.traded_ns:
                    self._offset.learn(source.traded_ns - source.trade_event_ns, now_ns)
        return self._offset.value_ns()
