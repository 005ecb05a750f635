import io
import json
import logging
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trading_platform.observability.logs import adopt_library_logs, create_log, log_context
from trading_platform.observability.redaction import DEPTH_MAX, MASK, clean, is_secret_name


def written(**options: Any) -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    return create_log("order-manager", stream=stream, **options), stream


def test_a_line_is_the_requirements_object_in_its_order() -> None:
    log, stream = written()
    with log_context(correlation_id="8a6e0804-2bd0-4672-b79d-d97027f9071a", tenant_id="tenant-123"):
        log.info(
            "order submitted",
            operation="submitOrder",
            duration_ms=145,
            order_id="order-456",
            exchange_id="BINANCE",
            status="SUBMITTED",
        )
    entry = json.loads(stream.getvalue())
    timestamp = entry.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert list(entry.items()) == [
        ("level", "INFO"),
        ("correlationId", "8a6e0804-2bd0-4672-b79d-d97027f9071a"),
        ("tenantId", "tenant-123"),
        ("service", "order-manager"),
        ("operation", "submitOrder"),
        ("duration", 145),
        ("message", "order submitted"),
        ("metadata", {"orderId": "order-456", "exchangeId": "BINANCE", "status": "SUBMITTED"}),
    ]


def test_context_does_not_outlive_its_block() -> None:
    log, stream = written()
    with log_context(tenant_id="tenant-1"):
        pass
    log.info("later")
    assert json.loads(stream.getvalue())["tenantId"] is None


def test_an_exception_keeps_its_traceback_in_one_line() -> None:
    log, stream = written()
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError as error:
        log.error("it broke", exc_info=error)
    assert stream.getvalue().count("\n") == 1
    assert "RuntimeError: first\nsecond" in json.loads(stream.getvalue())["metadata"]["traceback"]


def test_levels_below_the_chosen_one_are_silent() -> None:
    log, stream = written(level="WARNING")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_a_terminal_line_is_readable_and_cannot_be_forged() -> None:
    log, stream = written(human=True)
    log.warning("order refused", operation="submitOrder", duration_ms=3, reason="a\nb\x1b[2J")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "WARNING order-manager submitOrder: order refused (3 ms) reason=a" in line


def test_library_logs_take_the_same_format() -> None:
    log, stream = written()
    adopt_library_logs(log)
    adopt_library_logs(log)
    logging.getLogger("some.library").warning("%s is slow", "disk")
    entry = json.loads(stream.getvalue())
    assert (entry["message"], entry["operation"]) == ("disk is slow", "some.library")


class _Dots:
    def __str__(self) -> str:
        return "••••••"


def test_secrets_never_reach_a_line_however_they_come() -> None:
    log, stream = written()
    key = "tp_live_abcdefghijklmnop0123456789"
    log.error(
        f"refused {key}",
        api_key="plain-key-value",
        secret=_Dots(),
        headers={"Authorization": "Bearer s3cr3t-token-value", "X-Other": "fine"},
        url="https://host/api?symbol=BTCUSDT&signature=deadbeef",
        error=ValueError(f"Authorization: Bearer {key}"),
        nested=[{"apiSecret": "hidden-one"}, {"passphrase": "hidden-two"}],
    )
    line = stream.getvalue()
    for secret in (key, "plain-key-value", "s3cr3t", "deadbeef", "hidden-one", "hidden-two"):
        assert secret not in line
    assert "fine" in line
    assert "symbol=BTCUSDT" in line


def test_secret_names_are_known_in_any_spelling() -> None:
    for name in (
        "apiKey",
        "api_key",
        "API-KEY",
        "apiSecret",
        "X-MBX-APIKEY",
        "CB-ACCESS-PASSPHRASE",
    ):
        assert is_secret_name(name)
    for name in ("keyId", "symbol", "orderId", "secretary", "tokens_used"):
        assert not is_secret_name(name)


_json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(_json_like)
def test_any_value_becomes_one_parsable_line(value: object) -> None:
    log, stream = written()
    log.info("event", value=value)
    assert stream.getvalue().count("\n") == 1
    json.loads(stream.getvalue())


def test_deep_and_long_values_are_cut() -> None:
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    assert len(str(clean(deep))) < 10 * DEPTH_MAX
    assert len(clean("x" * 100_000)) < 9000
    assert clean({"password": {"a": 1}}) == {"password": MASK}
