import re
from pathlib import Path

import pytest

from trading_platform.observability.metrics import METRICS, Metrics, prometheus_name

REQUIRED = {
    "OrderSubmissionLatency": ("TradingPlatform/Orders", ("tenant_id", "exchange_id")),
    "OrderSuccessRate": ("TradingPlatform/Orders", ("tenant_id", "exchange_id")),
    "ExchangeHealthScore": ("TradingPlatform/Exchanges", ("exchange_id",)),
    "KillSwitchActivations": ("TradingPlatform/Risk", ("tenant_id",)),
}


def test_the_requirements_metrics_have_their_namespace_and_dimensions() -> None:
    rows = {metric.name: (metric.namespace, metric.labels) for metric in METRICS}
    assert {name: rows[name] for name in REQUIRED} == REQUIRED
    assert len(rows) == len(METRICS)


def test_a_name_reads_as_prometheus_wants_it() -> None:
    by_name = {metric.name: prometheus_name(metric) for metric in METRICS}
    assert by_name["OrderSubmissionLatency"] == "trading_platform_order_submission_latency_seconds"
    assert by_name["ExchangeHealthScore"] == "trading_platform_exchange_health_score"


def test_recorded_values_show_in_the_text() -> None:
    metrics = Metrics()
    account = {"tenant_id": "t-1", "exchange_id": "BINANCE"}
    for outcome in (1, 1, 0):
        metrics.record("OrderSuccessRate", outcome, **account)
    metrics.record("OrderSubmissionLatency", 0.02, **account)
    metrics.record("KillSwitchActivations", tenant_id="t-1")
    metrics.record("StreamConnections", 3)
    text = metrics.text().decode()
    assert 'order_success_rate_sum{exchange_id="BINANCE",tenant_id="t-1"} 2.0' in text
    assert 'order_success_rate_count{exchange_id="BINANCE",tenant_id="t-1"} 3.0' in text
    assert 'kill_switch_activations_total{tenant_id="t-1"} 1.0' in text
    assert re.search(r"latency_seconds_bucket\{.*le=\"0.025\".*\} 1.0", text)
    assert "stream_connections 3.0" in text


def test_label_values_are_bounded() -> None:
    metrics = Metrics(label_sets_max=2)
    for number in range(50):
        metrics.record("KillSwitchActivations", tenant_id=f"t-{number}")
    text = metrics.text().decode()
    assert 'kill_switch_activations_total{tenant_id="other"} 48.0' in text
    assert "t-2" not in text


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Metrics().record("KillSwitchActivations", exchange_id="BINANCE")


def test_every_name_recorded_in_the_source_is_a_row() -> None:
    source = Path(__file__).parents[3] / "src"
    used = {
        name
        for path in source.rglob("*.py")
        for name in re.findall(r"\.record\(\s*\"([A-Z]\w+)\"", path.read_text())
    }
    assert used <= {metric.name for metric in METRICS}
