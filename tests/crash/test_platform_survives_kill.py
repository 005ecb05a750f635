"""`kill -9` of the platform at random points of a submission; the exchanges live on.

The judge of what the exchange has is python-binance, which nobody here wrote.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from binance.client import Client as BinanceClient

from tests.processes import Program, run_json
from trading_platform.simulation.credentials import simulated_keys

KILLS = 4 if os.environ.get("LONG") == "small" else 20
ORDERS_A_ROUND = 6
SETTLED_WITHIN_S = 120.0
ANY_PORTS = ("--binance-port", "0", "--coinbase-port", "0")


class Exchanges(NamedTuple):
    """Simulated exchanges in a process of their own."""

    program: Program
    binance: str
    coinbase: str


@pytest.fixture
def exchanges(tmp_path: Path) -> Iterator[Exchanges]:
    program = Program(
        ["simulate", "--json", "--data", str(tmp_path / "exchanges"), *ANY_PORTS],
        tmp_path,
    )
    said = json.loads(program.line())
    yield Exchanges(program, said["binance"], said["coinbase"])
    program.stop()


class Platform:
    """A platform that is killed and started again on the same data."""

    def __init__(self, folder: Path, exchanges: Exchanges) -> None:
        self._folder = folder
        self._exchanges = exchanges
        self.program: Program | None = None
        self.address = ""

    def start(self) -> None:
        exchanges = (
            "--exchange",
            f"BINANCE={self._exchanges.binance}",
            "--exchange",
            f"COINBASE={self._exchanges.coinbase}",
        )
        self.program = Program(
            [
                "serve",
                "--json",
                "--port",
                "0",
                "--data",
                str(self._folder / "platform"),
                *exchanges,
            ],
            self._folder,
        )
        self.address = json.loads(self.program.line())["url"]

    def end(self) -> None:
        """Whatever happened, leave no process behind."""
        if self.program is not None and self.program.process.poll() is None:
            self.program.kill()

    def call(self, method: str, path: str, key: str, body: Any = None, intent: str = "") -> Any:
        """(status, JSON), or None when the platform died on us."""
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=20)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if intent:
            headers["Idempotency-Key"] = intent
        try:
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()


def _body(number: int) -> dict[str, str]:
    """Market orders (whose client id is free again at once) and resting ones."""
    order = {"exchangeId": "BINANCE", "symbol": "BTC-USDT", "side": "BUY", "quantity": "0.001"}
    if number % 2:
        return {**order, "orderType": "MARKET"}
    return {**order, "orderType": "LIMIT", "price": "20000"}


def _settled(platform: Platform, key: str, intent: str, number: int) -> dict[str, Any]:
    """Submit as a careful client does, the same key and body again, and wait for its fate."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    path, answer = "", None
    while time.monotonic() < deadline:
        if path:
            answer = platform.call("GET", path, key)
        else:
            answer = platform.call("POST", "/v1/orders", key, _body(number), intent)
        if answer is not None and answer[0] in {200, 201, 202}:
            order: dict[str, Any] = answer[1]
            if order["status"] not in {"SUBMITTING", "UNKNOWN"}:
                return order
            path = f"/v1/orders/{order['orderId']}"
        time.sleep(1)
    raise AssertionError(f"{intent} is not settled: {answer}")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_killed_at_random_points_leaves_one_order_for_each_intent(
    exchanges: Exchanges, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}, {KILLS} kills")
    draw = random.Random(seed)
    data = str(tmp_path / "platform")
    tenant = run_json("tenant", "create", "Crash", "--tier", "ENTERPRISE", "--data", data)
    key = run_json("api-key", "create", tenant["tenantId"], "--data", data)["apiKey"]
    platform = Platform(tmp_path, exchanges)
    request.addfinalizer(platform.end)
    intents: dict[str, int] = {}
    for round_number in range(KILLS):
        platform.start()
        _trade_and_die(platform, key, round_number, draw.uniform(0.0, 0.12), intents)
    platform.start()
    with ThreadPoolExecutor(8) as pool:
        orders = list(pool.map(lambda row: _settled(platform, key, *row), intents.items()))
    print(Counter(order["status"] for order in orders))
    there = _on_exchange(exchanges, tenant["tenantId"])
    counted = Counter(row["clientOrderId"] for row in there)
    placed = {order["clientOrderId"] for order in orders if order["status"] != "NOT_PLACED"}
    states = {row["clientOrderId"]: row["status"] for row in there}
    assert platform.program is not None
    assert platform.program.stop() == 0
    assert [client_id for client_id, count in counted.items() if count > 1] == [], "doubled"
    assert set(counted) == placed, "lost, or falsely ended"
    ours = {"OPEN": "NEW", "FILLED": "FILLED", "PARTIALLY_FILLED": "PARTIALLY_FILLED"}
    for order in orders:
        if order["status"] != "NOT_PLACED":
            assert states[order["clientOrderId"]] == ours[order["status"]]


def _trade_and_die(
    platform: Platform, key: str, round_number: int, after_s: float, intents: dict[str, int]
) -> None:
    """Submit some orders at once and kill the platform while they are under way."""
    assert platform.program is not None
    with ThreadPoolExecutor(ORDERS_A_ROUND) as pool:
        for number in range(ORDERS_A_ROUND):
            intent = f"intent-{round_number}-{number}"
            intents[intent] = number
            pool.submit(platform.call, "POST", "/v1/orders", key, _body(number), intent)
        killer = threading.Timer(after_s, platform.program.kill)
        killer.start()
        killer.join()


def _on_exchange(exchanges: Exchanges, tenant_id: str) -> list[dict[str, Any]]:
    keys = simulated_keys(tenant_id)
    judge = BinanceClient(keys.api_key, keys.api_secret, ping=False)
    judge.API_URL = f"{exchanges.binance}/api"
    rows: list[dict[str, Any]] = judge.get_all_orders(symbol="BTCUSDT", limit=1000)
    return rows
