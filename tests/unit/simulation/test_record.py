"""The recorder writes what an exchange sends, and what it wrote can be replayed."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.unit.simulation.coinbase_desks import BTC, a_coinbase_exchange, a_liquid_book
from trading_platform.kit.clock import ManualClock, SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.simulation import record as recorder
from trading_platform.simulation.coinbase_limits import UNLIMITED
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.record import LineFile, record, subscription
from trading_platform.simulation.recordings import read_lines
from trading_platform.simulation.replay import Book, RecordedPath, Trade

COINBASE = ExchangeId.COINBASE


@pytest.fixture
async def coinbase() -> AsyncIterator[tuple[CoinbaseServer, SimulatedExchange]]:
    exchange, _ = a_coinbase_exchange(SystemClock())
    a_liquid_book(exchange)
    server = CoinbaseServer(exchange, clock=SystemClock(), limits=UNLIMITED)
    await server.start()
    yield server, exchange
    await server.close()


async def test_a_recording_of_the_simulated_coinbase_can_be_replayed(
    coinbase: tuple[CoinbaseServer, SimulatedExchange], tmp_path: Path
) -> None:
    server, exchange = coinbase

    async def market() -> None:
        for at in range(1000):
            exchange.external_trade(BTC, Decimal(60_001), Decimal("0.1"), Side.BUY)
            exchange.set_levels(BTC, [(Decimal(59_000 + at), Decimal(1))], [])
            await asyncio.sleep(0.01)

    trading = asyncio.create_task(market())
    found = await record(
        COINBASE,
        server.url.replace("http", "ws"),
        [BTC],
        tmp_path,
        clock=SystemClock(),
        messages_max=30,
    )
    trading.cancel()
    assert (found.messages, found.reconnects, len(found.files)) == (30, 0, 1)
    lines = list(read_lines(found.files[0].read_bytes()))
    assert len(lines) == 30
    assert all(before.received_ns <= after.received_ns for before, after in pairwise(lines))
    played = [timed.event for timed in RecordedPath(found.files[0].read_bytes(), COINBASE).round()]
    assert isinstance(played[0], Book)
    assert played[0].asks[0][0] == Decimal(60_001)
    trades = [event for event in played if isinstance(event, Trade)]
    assert trades
    assert {(t.price, t.quantity, t.taker_side) for t in trades} == {
        (Decimal(60_001), Decimal("0.1"), Side.BUY)
    }


async def test_a_recording_ends_when_its_time_is_up(
    coinbase: tuple[CoinbaseServer, SimulatedExchange], tmp_path: Path
) -> None:
    ws_url = coinbase[0].url.replace("http", "ws")
    found = await record(COINBASE, ws_url, [BTC], tmp_path, clock=SystemClock(), duration_s=0.2)
    assert found.messages >= 3  # acknowledgement, snapshot, last match
    assert len(list(read_lines(found.files[0].read_bytes()))) == found.messages


async def test_a_lost_connection_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RECONNECT_S", 0.0)

    async def send_two(socket: ServerConnection) -> None:
        request = msgspec.json.decode(await socket.recv())
        assert request["params"] == ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@100ms"]
        await socket.send('{"a":\n1}')
        await socket.send('{"b":2}')

    async with serve(send_two, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await record(
            ExchangeId.BINANCE,
            f"ws://127.0.0.1:{port}/stream",
            ["BTCUSDT"],
            tmp_path,
            clock=SystemClock(),
            messages_max=5,
        )
    assert (found.messages, found.reconnects) == (5, 2)
    frames = [line.frame for line in read_lines(found.files[0].read_bytes())]
    assert frames == [b'{"a": 1}', b'{"b":2}'] * 2 + [b'{"a": 1}']


async def test_an_exchange_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be recorded") as caught:
        await record(
            COINBASE, "ws://127.0.0.1:9", [BTC], tmp_path, clock=SystemClock(), messages_max=1
        )
    assert caught.value.code == "EXCHANGE_UNAVAILABLE"


async def test_a_recording_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="how long"):
        await record(COINBASE, "ws://127.0.0.1:9", [BTC], tmp_path, clock=ManualClock())


def test_files_are_rotated_by_size_and_what_was_flushed_survives(tmp_path: Path) -> None:
    lines = LineFile(tmp_path, "x", bytes_max=20)
    for number in range(5):
        lines.write(number + 1, b'{"n":%d}' % number + b" " * 8)
    lines.flush()
    assert len(lines.paths) == 3
    whole = [list(read_lines(path.read_bytes())) for path in lines.paths[:2]]
    assert [len(found) for found in whole] == [2, 2]
    # The last file was never closed, as after a crash: its flushed line is there.
    (last,) = read_lines(lines.paths[2].read_bytes())
    assert last.received_ns == 5
    lines.close()
    assert gzip.decompress(lines.paths[2].read_bytes()).startswith(b"5 ")


def test_coinbase_is_asked_for_channels_that_need_no_login() -> None:
    request = subscription(COINBASE, [BTC])
    assert request["channels"] == ["level2_batch", "matches", "heartbeat"]
