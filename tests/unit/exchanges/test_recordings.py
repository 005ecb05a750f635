"""Every recorded message and response parses, with counts by type equal to the manifest's."""

import hashlib
from collections import Counter
from decimal import Decimal

import pytest

from tests.unit.exchanges import recorded
from tests.unit.exchanges.sinks import Market
from trading_platform.exchanges import binance_messages
from trading_platform.exchanges.binance_market import BinanceMarket
from trading_platform.exchanges.binance_messages import BookTicker, DepthSnapshot, DepthUpdate
from trading_platform.exchanges.coinbase_market import CoinbaseMarket

ABSENT = "not in this repository (no licence to copy it): set RECORDED_DATA to a folder that has it"


@pytest.mark.parametrize("name", sorted(recorded.MANIFEST))
def test_whole_file_parses_with_the_manifests_counts(name: str) -> None:
    path = recorded.find(name)
    if path is None:
        pytest.skip(f"{name} is {ABSENT}")
    expected = recorded.MANIFEST[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected["sha256"]
    assert {kind: n for kind, n in recorded.count(name).items() if n} == {
        kind: n for kind, n in expected["counts"].items() if n
    }


def test_the_sets_that_belong_here_are_here() -> None:
    here = {name.partition("/")[0] for name in recorded.MANIFEST if recorded.find(name)}
    assert here >= {
        "flashbook-2026-07-07",
        "hftbacktest-2024-08",
        "cryptofeed-2021",
        "gocryptotrader-binance",
        "coinbase-pro-node",
        "lean-coinbase-binance",
    }


def test_the_hot_path_reads_a_real_binance_stream_whole() -> None:
    dialect, sink = BinanceMarket(), Market()
    name = "hftbacktest-2024-08/btcusdt_20240808.log.gz"
    for line in recorded.lines(name):
        stream = line[:80].partition(b'"stream":"btcusdt@')[2]
        if stream.startswith((b"bookTicker", b"trade")):
            dialect.decode(line.partition(b'"data":')[2][:-1], sink)
    counts = recorded.MANIFEST[name]["counts"]
    assert Counter(told[0] for told in sink.told) == {
        "quote": counts["btcusdt@bookTicker"],
        "trade": counts["btcusdt@trade"],
    }
    assert (dialect.unknown, dialect.garbage) == (0, 0)


def test_the_hot_path_reads_a_real_coinbase_feed_whole() -> None:
    dialect, sink = CoinbaseMarket(), Market()
    name = "flashbook-2026-07-07/coinbase-ws-btc-usd.ndjson.gz"
    for line in recorded.lines(name):
        dialect.decode(line, sink)
    counts = recorded.MANIFEST[name]["counts"]
    told = Counter(told[0] for told in sink.told)
    assert told["trade"] == counts["match:BTC-USD"]
    assert told["heartbeat"] == counts["heartbeat:BTC-USD"]
    assert dialect.garbage == 0
    assert dialect.unknown == counts["l2update:BTC-USD"] + counts["snapshot:BTC-USD"]


@pytest.mark.parametrize(("coin", "compared"), [("btcusdt", 564), ("ethusdt", 577)])
def test_the_book_rebuilt_from_depth_agrees_with_every_best_quote(coin: str, compared: int) -> None:
    frames = [
        binance_messages.parse(line.partition(b" ")[2])[1]
        for line in recorded.lines(f"hftbacktest-2024-08/{coin}_20240808.log.gz")
    ]
    (snapshot,) = (frame for frame in frames if isinstance(frame, DepthSnapshot))
    quotes = {frame.u: frame for frame in frames if isinstance(frame, BookTicker)}
    bids, asks = dict(snapshot.bids), dict(snapshot.asks)
    last, agreed = snapshot.last_update_id, 0
    for update in (frame for frame in frames if isinstance(frame, DepthUpdate)):
        if update.u <= snapshot.last_update_id:
            continue
        assert last + 1 >= update.U
        last = update.u
        for side, levels in ((bids, update.b), (asks, update.a)):
            for price, quantity in levels:
                side[price] = quantity
                if quantity == Decimal(0):
                    del side[price]
        quote = quotes.get(update.u)
        if quote is not None:
            assert (max(bids), bids[max(bids)]) == (quote.b, quote.B)
            assert (min(asks), asks[min(asks)]) == (quote.a, quote.A)
            agreed += 1
    assert agreed == compared
