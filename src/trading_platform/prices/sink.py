"""Takes one exchange's decoded stream: the hot path of the price feed.

One dict look-up, plain attributes, the time read once a batch. Prices and their rules: source.py.
"""

from collections.abc import Callable, Mapping
from math import inf

from trading_platform.prices.clocks import OffsetEstimate
from trading_platform.prices.source import Source


class ExchangeSink:
    """The MarketSink (exchanges/ports.py) of one exchange's sources."""

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
