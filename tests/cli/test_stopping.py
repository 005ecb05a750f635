"""Ctrl-C at any moment, and what a restart finds."""

import signal
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Demo
from tests.processes import Program, children, runs

STOPPED_WITHIN_S = 5.0
INTENT = {
    "exchangeId": "COINBASE",
    "symbol": "BTC-USD",
    "side": "BUY",
    "orderType": "LIMIT",
    "quantity": "0.001",
    "price": "20000",
}

FILLS = {
    "exchangeId": "BINANCE",
    "symbol": "BTC-USDT",
    "side": "BUY",
    "orderType": "MARKET",
    "quantity": "0.001",
}


def test_restart_keeps_tenant_key_and_orders_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    first = Demo(tmp_path, tmp_path / "data")
    status, filled = first.call("POST", "/v1/orders", FILLS, "filled")
    assert (status, filled["status"]) == (201, "FILLED")
    status, resting = first.call("POST", "/v1/orders", INTENT, "resting")
    assert (status, resting["status"]) == (201, "OPEN")
    started = children(first.program.process.pid)
    assert started, "the embedded Valkey is a process of its own"

    began = time.monotonic()
    assert first.program.stop() == 0
    assert time.monotonic() - began < STOPPED_WITHIN_S
    assert [process_id for process_id in started if runs(process_id)] == []
    assert "Traceback" not in first.program.said()

    second = Demo(tmp_path, tmp_path / "data")
    try:
        assert (second.tenant_id, second.api_key) == (first.tenant_id, first.api_key)
        listed = second.get("/v1/orders")[1]["orders"]
        assert [order["orderId"] for order in listed] == [resting["orderId"], filled["orderId"]]
        assert [order["status"] for order in listed] == ["OPEN", "FILLED"]
        assert (
            second.call("POST", "/v1/orders", INTENT, "resting")[1]["orderId"]
            == (resting["orderId"])
        ), "the same intent is the same order, also after a restart"
        canceled = second.call("DELETE", f"/v1/orders/{resting['orderId']}")[1]
        assert canceled["status"] == "CANCELED", "the exchange still had it"
    finally:
        assert second.program.stop() == 0


# Before our first line runs, Ctrl-C is Python's own; a line says that ours runs.
BEGUN = ("-c", "print('begun', flush=True); from trading_platform.cli.main import main; main()")


@pytest.mark.parametrize("after_s", [0.2, 0.6, 0.9, 1.3])
def test_ctrl_c_while_it_starts_ends_it_without_a_traceback(tmp_path: Path, after_s: float) -> None:
    arguments = ["demo", "--json", "--port", "0", "--data", str(tmp_path / "data")]
    program = Program(arguments, tmp_path, python=BEGUN)
    assert program.line() == "begun"
    time.sleep(after_s)  # the moment is the point
    started = children(program.process.pid)
    assert program.stop() in {0, 130}
    assert [process_id for process_id in started if runs(process_id)] == []
    assert "Traceback" not in program.said()


def test_sigterm_stops_as_ctrl_c_does(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    ports = ("--binance-port", "0", "--coinbase-port", "0")
    program = Program(["simulate", "--json", *data, *ports], tmp_path)
    program.line()
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(STOPPED_WITHIN_S) == 0
    program.stop()
    assert program.said() == ""
