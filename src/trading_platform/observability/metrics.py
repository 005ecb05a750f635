"""Every metric of the platform, one line each. The CamelCase names are those of the requirements.

Prometheus sees `OrderSubmissionLatency` as `trading_platform_order_submission_latency_seconds`;
`namespace` and the labels are what CloudWatch calls namespace and dimensions.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest

LABEL_SETS_MAX = 2000
"""Different label values one metric keeps; what comes after that is counted under "other"."""


class Kind(StrEnum):
    """How values of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SECONDS = "seconds"
    SHARE = "share"
    """Each value is 0 or 1; sum / count is the share."""


class Metric(msgspec.Struct, frozen=True):
    """One row of METRICS."""

    name: str
    namespace: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


ORDERS = "TradingPlatform/Orders"
EXCHANGES = "TradingPlatform/Exchanges"
PRICES = "TradingPlatform/Prices"
RISK = "TradingPlatform/Risk"
API = "TradingPlatform/Api"

_ACCOUNT = ("tenant_id", "exchange_id")

METRICS: tuple[Metric, ...] = (
    Metric("OrderSubmissionLatency", ORDERS, Kind.SECONDS, _ACCOUNT, "Submit to the answer"),
    Metric("OrderSuccessRate", ORDERS, Kind.SHARE, _ACCOUNT, "1 accepted, 0 refused or unknown"),
    Metric("ExchangeHealthScore", EXCHANGES, Kind.GAUGE, ("exchange_id",), "0 dead to 1 healthy"),
    Metric("FeedMessages", PRICES, Kind.COUNTER, ("exchange_id",), "Market data messages read"),
    Metric("FeedGaps", PRICES, Kind.COUNTER, ("exchange_id",), "Times messages may be missing"),
    Metric("PricesPublished", PRICES, Kind.COUNTER, ("symbol",), "Aggregated prices published"),
    Metric("PricesRefused", PRICES, Kind.COUNTER, ("symbol", "reason"), "No price, and why"),
    Metric("KillSwitchActivations", RISK, Kind.COUNTER, ("tenant_id",), "Kill switch activations"),
    Metric("HttpRequestLatency", API, Kind.SECONDS, ("operation", "status"), "HTTP requests"),
    Metric("RequestsLimited", API, Kind.COUNTER, ("tenant_id", "limit"), "Refused by a limit"),
    Metric("StreamConnections", API, Kind.GAUGE, (), "Open WebSocket streams"),
    Metric("StreamFramesSkipped", API, Kind.COUNTER, (), "Prices a slow reader was spared"),
    Metric("FactsDropped", API, Kind.COUNTER, ("listener",), "Facts a full mailbox lost"),
)

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def prometheus_name(metric: Metric) -> str:
    """The metric's name in the text that Prometheus reads, without the suffixes it adds."""
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", metric.name).lower()
    return f"trading_platform_{snake}" + ("_seconds" if metric.kind is Kind.SECONDS else "")


class Metrics:
    """Records values and shows them. One a process; each has its own registry."""

    def __init__(self, label_sets_max: int = LABEL_SETS_MAX) -> None:
        self._registry = CollectorRegistry()
        self._label_sets_max = label_sets_max
        self._rows = {metric.name: metric for metric in METRICS}
        self._collectors = {metric.name: self._collector(metric) for metric in METRICS}
        self._children: dict[str, dict[tuple[str, ...], Counter | Gauge | Histogram | Summary]] = {
            metric.name: {} for metric in METRICS
        }

    def record(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Add to a counter, set a gauge, or take one observation (seconds, or 0/1 for a share)."""
        child = self._child(name, labels)
        if isinstance(child, Counter):
            child.inc(value)
        elif isinstance(child, Gauge):
            child.set(value)
        else:
            child.observe(value)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def _child(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge | Histogram | Summary:
        names = self._rows[name].labels
        if set(names) != set(labels):
            raise ValueError(f"metric {name} has the labels {names}, not {tuple(labels)}")
        if not names:
            return self._collectors[name]
        children = self._children[name]
        values = tuple(labels[label] for label in names)
        if values not in children and len(children) >= self._label_sets_max:
            values = ("other",) * len(names)
        if values not in children:
            children[values] = self._collectors[name].labels(*values)
        return children[values]

    def _collector(self, metric: Metric) -> Counter | Gauge | Histogram | Summary:
        name, labels = prometheus_name(metric), metric.labels
        if metric.kind is Kind.SECONDS:
            return Histogram(name, metric.help, labels, registry=self._registry, buckets=_BUCKETS_S)
        kinds = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.SHARE: Summary}
        made: Counter | Gauge | Summary = kinds[metric.kind](
            name, metric.help, labels, registry=self._registry
        )
        return made
