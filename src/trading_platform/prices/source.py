"""One symbol of one exchange, updated in place for every message.

sink.py sets the plain attributes; whatever is unusual (an unexpected trade id, a price far off, a
new second) it asks of a method here.

1. Every trade counts once in the rolling VWAP: sums are kept per second, never subtracted, so
   nothing drifts. A doubled trade id does not count again.
2. The newest quote always stands. A quote older by the exchange's own time is refused, for at most
   `_LATE_NS` after the newer one, so that one wrong timestamp cannot silence a source.
3. A trade far from the last is refused unless the book or three such trades in a row confirm it.
4. After a gap a source knows nothing until it is heard again.
"""

from collections import deque
from math import fsum, inf

from trading_platform.market.instruments import ExchangeId
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
