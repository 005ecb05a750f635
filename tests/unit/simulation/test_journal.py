"""What survives the death of the simulator."""

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.simulation.venues import API_KEY, BTC, a_binance_exchange, a_limit, a_liquid_book
from trading_platform.kit.errors import ServiceError
from trading_platform.market.orders import Side
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.journal import Journal

D = Decimal


def reopened(path: Path) -> SimulatedExchange:
    exchange, _ = a_binance_exchange(journal=Journal(path))
    return exchange


def traded(path: Path) -> tuple[SimulatedExchange, str]:
    """One order partly filled and resting, one filled, one canceled."""
    exchange = reopened(path)
    a_liquid_book(exchange)
    key = exchange.key(API_KEY)
    assert key is not None
    exchange.submit(key.account_id, a_limit(Side.SELL, "0.2", "59999", client_order_id="done"))
    exchange.submit(key.account_id, a_limit(Side.BUY, "1.5", "60001", client_order_id="part"))
    gone = exchange.submit(key.account_id, a_limit(Side.BUY, "0.1", "50000"))
    exchange.cancel(key.account_id, gone.order_id)
    return exchange, key.account_id


def state(exchange: SimulatedExchange, account: str) -> object:
    return (
        exchange.orders(account),
        exchange.trades(account),
        exchange.balances(account),
        exchange.ledger.external,
        exchange.ledger.fees,
    )


def test_everything_is_the_same_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    before, account = traded(path)
    after = reopened(path)
    assert state(after, account) == state(before, account)
    again = reopened(path)
    assert state(again, account) == state(before, account)


def test_restored_order_still_trades_and_ids_never_repeat(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    before, account = traded(path)
    after = reopened(path)
    known_orders = {order.order_id for order in before.orders(account)}
    known_trades = {trade.trade_id for trade in before.trades(account)}
    after.set_level(BTC, Side.SELL, D(60_000), D(1))
    restored = after.order_by_client_id(account, "part")
    assert restored is not None
    assert restored.filled_quantity == D("1.5")
    new = after.submit(account, a_limit(Side.BUY, "0.1", "50000", client_order_id="new"))
    assert new.order_id not in known_orders
    fresh = [t.trade_id for t in after.trades(account) if t.trade_id not in known_trades]
    assert len(fresh) == 1


def test_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    before, account = traded(path)
    expected = state(before, account)
    with path.open("ab") as file:
        file.write(b'{"orders":[{"order_id":1')
    assert state(reopened(path), account) == expected


def test_unreadable_line_in_the_middle_refuses_to_open_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    path.write_bytes(b"not json\n{}\n")
    with pytest.raises(ServiceError, match="move the file away") as refused:
        Journal(path)
    assert refused.value.code == "UNUSABLE_DATA"


def test_journal_is_private_and_compacted_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    traded(path)
    assert path.read_bytes().count(b"\n") > 3
    Journal(path).close()
    assert path.read_bytes().count(b"\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_compaction_forgets_the_oldest_closed_orders(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    traded(path)
    memory = Journal(path, closed_orders_max=1).memory
    assert [order.client_order_id for order in memory.orders.values()] == [
        "part",
        "BUY-0.1-50000",
    ]


_TRADER = """
import sys
from pathlib import Path
from tests.unit.simulation.test_journal import reopened
from tests.unit.simulation.venues import API_KEY, a_limit, a_liquid_book
from trading_platform.market.orders import Side
exchange = reopened(Path(sys.argv[1]))
a_liquid_book(exchange)
account = exchange.key(API_KEY).account_id
for number in range(10**9):
    exchange.submit(account, a_limit(Side.BUY, "0.0001", "50000", client_order_id=str(number)))
    print(number, flush=True)
"""


def test_every_answered_order_survives_kill_nine(tmp_path: Path) -> None:
    path = tmp_path / "binance.journal"
    process = subprocess.Popen(
        [sys.executable, "-c", _TRADER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    answered = 20 + len([line for line in process.stdout if line.endswith("\n")])
    process.wait(timeout=5)
    exchange = reopened(path)
    key = exchange.key(API_KEY)
    assert key is not None
    orders = exchange.open_orders(key.account_id)
    assert answered <= len(orders) <= answered + 1
    locked = exchange.ledger.balance(key.account_id, "USDT").locked
    assert locked == len(orders) * D(5)
