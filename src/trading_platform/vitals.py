"""Wiring between what the feeds know of themselves and the metrics that operators watch."""

from collections.abc import Sequence

from trading_platform.kit.clock import Clock
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.observability.metrics import Metrics
from trading_platform.prices.feeds import PriceFeedManager, Publisher

EVERY_S = 5.0


class CountedPublisher:
    """A publisher whose prices and refusals are counted on their way."""

    def __init__(self, publisher: Publisher, metrics: Metrics) -> None:
        self._publisher = publisher
        self._metrics = metrics

    def offer(self, batch: Sequence[AggregatedPrice | PriceRefusal]) -> None:
        """Count and pass on."""
        for result in batch:
            if isinstance(result, AggregatedPrice):
                self._metrics.record("PricesPublished", symbol=result.symbol)
            else:
                self._metrics.record("PricesRefused", symbol=result.symbol, reason=result.reason)
        self._publisher.offer(batch)


async def watch_feeds(prices: PriceFeedManager, metrics: Metrics, clock: Clock) -> None:
    """Take the feeds' own counts over into the metrics, for ever."""
    seen: dict[str, tuple[int, int]] = {}
    while True:
        for feed in prices.feeds():
            messages, gaps = seen.get(feed.exchange_id, (0, 0))
            if feed.messages < messages:  # the feed was started anew
                messages = gaps = 0
            labels = {"exchange_id": feed.exchange_id}
            metrics.record("FeedMessages", feed.messages - messages, **labels)
            metrics.record("FeedGaps", max(0, feed.gaps - gaps), **labels)
            metrics.record("ExchangeHealthScore", float(feed.connected), **labels)
            seen[feed.exchange_id] = (feed.messages, feed.gaps)
        await clock.sleep(EVERY_S)
