"""The main job, as a newcomer does it: `trading-platform demo` and the command line."""

import json
import time

from tests.cli.conftest import Demo
from tests.processes import run, run_json


def _price(demo: Demo, symbol: str) -> dict[str, object]:
    """The price once both exchanges are in it; a feed may need a moment after the start."""
    deadline = time.monotonic() + 15
    while True:
        ended = demo.run("price", symbol, "--json")
        price = json.loads(ended.output) if ended.code == 0 else {"sources": []}
        if len([s for s in price["sources"] if not s["excluded"]]) == 2:
            return dict(price)
        assert time.monotonic() < deadline, ended
        time.sleep(0.1)


def test_demo_says_one_line_with_exactly_where_who_and_key(demo: Demo) -> None:
    said = json.loads(demo.line)
    assert list(said) == ["url", "tenantId", "apiKey"]
    assert said["url"].startswith("http://127.0.0.1:")
    assert said["tenantId"].startswith("tenant-")
    assert said["apiKey"].startswith("tp_live_")


def test_api_says_it_lives_is_ready_and_what_it_can(demo: Demo) -> None:
    assert demo.get("/healthz")[0] == 200
    assert demo.get("/readyz")[0] == 200
    status, document = demo.get("/openapi.json")
    assert status == 200
    assert "/v1/orders" in document["paths"]


def test_data_lies_in_a_private_folder(demo: Demo) -> None:
    assert demo.data.stat().st_mode & 0o777 == 0o700
    open_to_others = [
        str(file)
        for file in demo.data.rglob("*")
        if file.is_file() and file.stat().st_mode & 0o077 and file.parent == demo.data
    ]
    assert open_to_others == []


def test_price_is_made_of_two_exchanges_and_names_them(demo: Demo) -> None:
    price = _price(demo, "BTC-USD")
    sources = price["sources"]
    assert isinstance(sources, list)
    assert {source["exchangeId"] for source in sources} == {"BINANCE", "COINBASE"}
    assert "BTC-USD" in demo.run("price").output


def test_market_order_on_binance_fills(demo: Demo) -> None:
    order = demo.run_json("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT")
    assert (order["status"], order["filledQuantity"]) == ("FILLED", "0.001")
    assert float(order["averagePrice"]) > 0
    assert demo.get(f"/v1/orders/{order['orderId']}/fills")[1]["fills"]


def test_limit_order_on_coinbase_rests_and_is_canceled(demo: Demo) -> None:
    submitted = demo.run_json(
        "order", "submit", "coinbase", "buy", "0.001", "btc-usd", "--price", "20000"
    )
    assert submitted["status"] == "OPEN"
    assert submitted["orderId"] in demo.run("order", "list", "--open").output
    canceled = demo.run_json("order", "cancel", submitted["orderId"])
    assert (canceled["status"], canceled["filledQuantity"]) == ("CANCELED", "0")
    assert submitted["orderId"] not in demo.run("order", "list", "--open").output


def test_kill_switch_refuses_the_next_order_until_it_is_released(demo: Demo) -> None:
    state = demo.run_json("kill-switch", "activate", "--reason", "a test")
    try:
        body = {
            "exchangeId": "BINANCE",
            "symbol": "BTC-USDT",
            "side": "BUY",
            "orderType": "MARKET",
            "quantity": "0.001",
        }
        status, problem = demo.call("POST", "/v1/orders", body, "while-halted")
        assert (status, problem["code"]) == (423, "TRADING_HALTED")
        refused = demo.run("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT")
        assert refused.code == 1
        assert "[TRADING_HALTED]" in refused.errors
        stale = demo.run("kill-switch", "release", "--epoch", "99", "--reason", "guessed")
        assert (stale.code, "[CONFLICT]" in stale.errors) == (1, True)
    finally:
        demo.run_json(
            "kill-switch", "release", "--epoch", str(state["epoch"]), "--reason", "reviewed"
        )
    switches = demo.run_json("kill-switch", "status")
    assert [row["scope"] for row in switches if row["active"]] == []
    order = demo.run_json("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT")
    assert order["status"] == "FILLED"


def test_empty_price_is_refused_and_never_becomes_a_market_order(demo: Demo) -> None:
    before = demo.run_json("order", "list")
    refused = demo.run("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT", "--price", "")
    assert (refused.code, "`price`" in refused.errors) == (1, True)
    assert demo.run_json("order", "list") == before


def test_second_demo_on_the_folder_names_the_folder_and_the_first(demo: Demo) -> None:
    second = run("demo", "--port", "0", "--data", str(demo.data))
    assert second.code == 4
    assert f"already runs on {demo.data} " in second.errors
    assert demo.url in second.errors
    assert demo.get("/healthz")[0] == 200


def test_serve_on_the_folder_of_a_running_demo_is_refused(demo: Demo) -> None:
    exchange = ("--exchange", "BINANCE=http://127.0.0.1:1")
    second = run("serve", "--port", "0", "--data", str(demo.data), *exchange)
    assert second.code == 4
    assert f"already runs on {demo.data} " in second.errors


def test_busy_port_names_the_port_and_the_option(demo: Demo) -> None:
    port = demo.url.rpartition(":")[2]
    second = run("demo", "--port", port, "--data", str(demo.data.parent / "other"))
    assert second.code == 4
    assert f"port {port} " in second.errors
    assert "--port" in second.errors


def test_tenants_and_keys_are_made_while_the_platform_runs(demo: Demo) -> None:
    data = ("--data", str(demo.data))
    tenant = run_json("tenant", "create", "Desk 7", "--tier", "pro", *data)
    assert tenant["tier"] == "PRO"
    key = run_json("api-key", "create", tenant["tenantId"], "--permission", "READ", *data)["apiKey"]
    its = {"TRADING_PLATFORM_URL": demo.url, "TRADING_PLATFORM_API_KEY": key}
    may_not = run("order", "submit", "BINANCE", "BUY", "0.001", "BTC-USDT", **its)
    assert (may_not.code, "[NOT_PERMITTED]" in may_not.errors) == (1, True)


def test_doctor_finds_all_well_beside_a_running_platform(demo: Demo) -> None:
    port = demo.url.rpartition(":")[2]
    findings = run_json("doctor", "--data", str(demo.data), "--port", port)
    assert [row for row in findings if not row["ok"]] == []
    assert {"python", "packages", "data folder", "records", "valkey", "port"} <= {
        row["check"] for row in findings
    }
