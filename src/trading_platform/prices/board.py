"""The newest price or refusal of every symbol, computed again for those whose sources changed."""

from collections.abc import Mapping, Sequence

import msgspec

from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.prices.aggregate import LastGood, aggregate
from trading_platform.prices.model import SAME_CURRENCY, PricePolicy, Rate, Reading, policy_for
from trading_platform.prices.routes import CONVERSIONS, Route, routes
from trading_platform.prices.sink import ExchangeSink
from trading_platform.prices.source import Source

PriceResult = AggregatedPrice | PriceRefusal
_RATE_FROM_ONE = 0.10
"""A stablecoin further than this from one is no rate to convert by."""


class PriceBoard:
    """Holds the sources of all feeds and makes prices of them."""

    def __init__(
        self, policies: Mapping[str, PricePolicy], conversions: Sequence[str] = CONVERSIONS
    ) -> None:
        self._policies = policies
        self._conversions = tuple(conversions)
        self._feeds: dict[str, tuple[ExchangeSink, tuple[Source, ...]]] = {}
        self._routes: dict[str, list[tuple[Source, Route]]] = {}
        self._results: dict[str, PriceResult] = {}
        self._last_good: dict[str, LastGood] = {}

    def put_feed(self, exchange_id: str, sink: ExchangeSink, sources: Sequence[Source]) -> None:
        """Take the sources of one exchange, in place of those it had."""
        self._feeds[exchange_id] = (sink, tuple(sources))
        self._plan()

    def drop_feed(self, exchange_id: str) -> None:
        """Forget an exchange; symbols that only it had are no longer known."""
        self._feeds.pop(exchange_id, None)
        self._plan()

    def symbols(self) -> list[str]:
        """Every symbol that some source quotes, sorted."""
        return sorted(self._routes)

    def latest(self, symbol: str, now_ns: int) -> PriceResult | None:
        """A symbol's price as of `now_ns`, refreshed or not; None for one that nobody quotes."""
        plan = self._routes.get(symbol)
        if plan is None:
            return None
        heard = self._heard(now_ns)
        rates = {route.rate_symbol for _, route in plan if route.rate_symbol in self._routes}
        for rate_symbol in rates:
            self._compute(rate_symbol, self._routes[rate_symbol], heard, now_ns)
        return self._compute(symbol, plan, heard, now_ns)

    def refresh(self, now_ns: int, *, everything: bool = False) -> list[PriceResult]:
        """Results of what changed since the last call; with `everything` of all symbols."""
        heard = self._heard(now_ns)
        moved_rates: set[str] = set()
        results = []
        for symbol, plan in self._routes.items():  # rates stand first
            if everything or any(
                source.changed or route.rate_symbol in moved_rates for source, route in plan
            ):
                results.append(self._compute(symbol, plan, heard, now_ns))
                if symbol in self._conversions:
                    moved_rates.add(symbol)
        self._settle()
        return results

    def _heard(self, now_ns: int) -> dict[str, tuple[int, int]]:
        return {
            exchange_id: (sink.offset_ns(now_ns), sink.alive_ns())
            for exchange_id, (sink, _) in self._feeds.items()
        }

    def _settle(self) -> None:
        for _, sources in self._feeds.values():
            for source in sources:
                source.changed = False

    def _compute(
        self,
        symbol: str,
        plan: Sequence[tuple[Source, Route]],
        heard: Mapping[str, tuple[int, int]],
        now_ns: int,
    ) -> PriceResult:
        readings = [self._reading(source, route, heard, now_ns) for source, route in plan]
        policy = policy_for(symbol, self._policies)
        result = aggregate(readings, policy, now_ns, self._last_good.get(symbol))
        if isinstance(result, AggregatedPrice):
            self._last_good[symbol] = LastGood(result.price, now_ns)
        self._results[symbol] = result
        return result

    def _reading(
        self,
        source: Source,
        route: Route,
        heard: Mapping[str, tuple[int, int]],
        now_ns: int,
    ) -> Reading:
        reading = source.reading(now_ns, *heard[source.exchange_id])
        rate = self._rate(route)
        if rate is SAME_CURRENCY:
            return reading
        return msgspec.structs.replace(reading, rate=rate)

    def _rate(self, route: Route) -> Rate | None:
        if route.rate_symbol is None:
            return SAME_CURRENCY
        price = self._results.get(route.rate_symbol)
        if not isinstance(price, AggregatedPrice) or abs(price.price - 1) > _RATE_FROM_ONE:
            return None
        value = 1 / price.price if route.inverse else price.price
        return Rate(value=value, confidence=price.confidence, synthetic=price.synthetic)

    def _plan(self) -> None:
        by_symbol: dict[str, list[Source]] = {}
        for _, sources in self._feeds.values():
            for source in sources:
                by_symbol.setdefault(source.symbol, []).append(source)
        rates_first = sorted(
            by_symbol, key=lambda symbol: (symbol not in self._conversions, symbol)
        )
        self._routes = {
            symbol: [
                (source, route)
                for route in routes(symbol, by_symbol, self._conversions)
                for source in by_symbol[route.source_symbol]
            ]
            for symbol in rates_first
        }
        for symbol in set(self._results) - set(self._routes):
            del self._results[symbol]
            self._last_good.pop(symbol, None)
