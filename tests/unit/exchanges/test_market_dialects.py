"""Public market data: what a frame says, and that no frame can hurt."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.exchanges.sinks import Market
from trading_platform.exchanges.binance_market import BinanceMarket
from trading_platform.exchanges.coinbase_market import CoinbaseMarket
from trading_platform.exchanges.dialect import MarketDialect
from trading_platform.kit.errors import ServiceError

BOOK_TICKER = (
    b'{"u":35346513501,"s":"ETHUSDT","b":"2683.80000000","B":"3.02920000",'
    b'"a":"2683.81000000","A":"31.43950000"}'
)
TRADE = (
    b'{"e":"trade","E":1783465157897,"s":"BTCUSDT","t":6486989273,"p":"63551.02000000",'
    b'"q":"0.00317000","T":1783465157897,"m":true,"M":true}'
)
TICKER = (
    b'{"type":"ticker","sequence":132235026653,"product_id":"BTC-USD","price":"63519.29",'
    b'"open_24h":"63000","volume_24h":"1.5","low_24h":"1","high_24h":"2","volume_30d":"3",'
    b'"best_bid":"63519.28","best_bid_size":"0.1","best_ask":"63519.29","best_ask_size":"0.2",'
    b'"side":"buy","time":"2026-07-07T22:58:18.123456Z","trade_id":1052119293,"last_size":"0.01"}'
)
MATCH = (
    b'{"type":"match","trade_id":1052119289,"maker_order_id":"a","taker_order_id":"b",'
    b'"side":"buy","size":"0.00211003","price":"63519.29","product_id":"BTC-USD",'
    b'"sequence":132235025401,"time":"2026-07-07T22:58:17.000001Z"}'
)
HEARTBEAT = (
    b'{"type":"heartbeat","last_trade_id":1052119293,"product_id":"BTC-USD",'
    b'"sequence":132235026653,"time":"2026-07-07T22:58:18.000000Z"}'
)


def decode(dialect: MarketDialect, *frames: bytes) -> Market:
    sink = Market()
    for frame in frames:
        dialect.decode(frame, sink)
    return sink


def test_binance_quote_and_trade() -> None:
    dialect = BinanceMarket()
    assert decode(dialect, BOOK_TICKER, TRADE).told == [
        ("quote", "ETHUSDT", 2683.8, 3.0292, 2683.81, 31.4395, 0),
        ("trade", "BTCUSDT", 63551.02, 0.00317, False, 6486989273, 1783465157897000000),
    ]
    assert (dialect.unknown, dialect.garbage) == (0, 0)


def test_binance_old_trade_with_order_ids_is_the_same_trade() -> None:
    old = TRADE.replace(b'"m":true', b'"b":88,"a":50,"m":false')
    assert decode(BinanceMarket(), old).told[0][4] is True


def test_coinbase_quote_trade_and_heartbeat() -> None:
    dialect = CoinbaseMarket()
    assert decode(dialect, TICKER, MATCH, HEARTBEAT).told == [
        ("quote", "BTC-USD", 63519.28, 0.1, 63519.29, 0.2, 1783465098123456000),
        ("trade", "BTC-USD", 63519.29, 0.00211003, False, 1052119289, 1783465097000001000),
        ("heartbeat", "BTC-USD", 1783465098000000000),
    ]
    assert (dialect.unknown, dialect.garbage) == (0, 0)


def test_coinbase_side_is_the_makers_so_the_taker_is_opposite() -> None:
    sold = MATCH.replace(b'"buy"', b'"sell"')
    assert [told[4] for told in decode(CoinbaseMarket(), MATCH, sold).told] == [False, True]


def test_coinbase_last_match_is_not_a_new_trade() -> None:
    dialect = CoinbaseMarket()
    assert len(decode(dialect, MATCH.replace(b"match", b"last_match", 1), MATCH).told) == 1
    assert (dialect.unknown, dialect.garbage) == (0, 0)


def reordered(frame: bytes) -> bytes:
    """The same object with its fields the other way round, and spaces."""
    fields = msgspec.json.decode(frame)
    return msgspec.json.format(msgspec.json.encode(dict(reversed(fields.items()))))


def test_the_order_of_fields_does_not_matter() -> None:
    for make, frames in (
        (BinanceMarket, (BOOK_TICKER, TRADE)),
        (CoinbaseMarket, (TICKER, MATCH, HEARTBEAT)),
    ):
        dialect = make()
        turned = decode(dialect, *map(reordered, frames)).told
        assert turned == decode(make(), *frames).told
        assert len(turned) == len(frames)
        assert (dialect.unknown, dialect.garbage) == (0, 0)


@pytest.mark.parametrize("bad", [b"NaN", b"inf", b"-inf", b"0.00000000", b"-1", b"nan", b"1e999"])
def test_impossible_numbers_are_garbage(bad: bytes) -> None:
    binance, coinbase = BinanceMarket(), CoinbaseMarket()
    frames = [
        BOOK_TICKER.replace(b"2683.80000000", bad),
        BOOK_TICKER.replace(b"2683.81000000", bad),
        TRADE.replace(b"63551.02000000", bad),
        TRADE.replace(b"0.00317000", bad),
    ]
    assert decode(binance, *frames).told == []
    assert binance.garbage == 4
    frames = [
        TICKER.replace(b"63519.28", bad),
        TICKER.replace(b'best_ask":"63519.29', b'best_ask":"' + bad),
        MATCH.replace(b"63519.29", bad),
        MATCH.replace(b"0.00211003", bad),
    ]
    assert decode(coinbase, *frames).told == []
    assert coinbase.garbage == 4


def test_a_crossed_quote_is_garbage() -> None:
    dialect = BinanceMarket()
    assert decode(dialect, BOOK_TICKER.replace(b"2683.80000000", b"2683.82")).told == []
    assert dialect.garbage == 1


@pytest.mark.parametrize(
    "frame", [b"", b"null", b"[]", b"{", b"\xff", b'"text"', b"[" * 5000, b'{"s":' + b"[" * 9000]
)
def test_unreadable_frames_are_counted_and_never_raise(frame: bytes) -> None:
    for dialect in (BinanceMarket(), CoinbaseMarket()):
        assert decode(dialect, frame).told == []
        assert dialect.garbage == 1


def test_unknown_kinds_are_counted() -> None:
    binance, coinbase = BinanceMarket(), CoinbaseMarket()
    decode(binance, b'{"e":"depthUpdate","s":"BTCUSDT","b":[["1","2"]],"a":[]}', b'{"e":"new"}')
    decode(coinbase, b'{"type":"l2update","product_id":"BTC-USD","changes":[]}', b'{"type":"new"}')
    assert (binance.unknown, binance.garbage) == (2, 0)
    assert (coinbase.unknown, coinbase.garbage) == (2, 0)


def test_acknowledgements_are_quiet_and_refusals_are_kept() -> None:
    binance, coinbase = BinanceMarket(), CoinbaseMarket()
    decode(binance, b'{"result":null,"id":1}', b'{"code":2,"msg":"Invalid request: x"}')
    assert binance.refused == "Invalid request: x"
    error = b'{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}'
    decode(coinbase, b'{"type":"subscriptions","channels":[]}', error)
    assert coinbase.refused == "Failed to subscribe X is not a valid product"
    for dialect in (binance, coinbase):
        assert (dialect.unknown, dialect.garbage, dialect.leaving) == (0, 0, None)


def test_server_shutdown_asks_for_another_connection() -> None:
    dialect = BinanceMarket()
    decode(dialect, b'{"e":"serverShutdown","E":1793356802000}')
    assert dialect.leaving


def test_binance_subscribes_in_bounded_frames() -> None:
    frames = BinanceMarket().subscribe([f"S{number}USDT" for number in range(150)])
    requests: list[dict[str, Any]] = [msgspec.json.decode(frame) for frame in frames]
    assert [len(request["params"]) for request in requests] == [200, 100]
    assert requests[0]["params"][:2] == ["s0usdt@bookTicker", "s0usdt@trade"]
    assert len({request["id"] for request in requests}) == 2
    with pytest.raises(ServiceError):
        BinanceMarket().subscribe([f"S{number}USDT" for number in range(513)])


def test_coinbase_subscribes_to_quotes_trades_and_heartbeat() -> None:
    (frame,) = CoinbaseMarket().subscribe(["BTC-USD"])
    assert msgspec.json.decode(frame) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD"],
        "channels": ["ticker", "matches", "heartbeat"],
    }


@given(st.binary(max_size=200), st.integers(0, 180))
def test_no_damage_to_a_frame_raises(noise: bytes, at: int) -> None:
    for dialect, frame in ((BinanceMarket(), TRADE), (CoinbaseMarket(), TICKER)):
        decode(dialect, noise, frame[:at] + noise + frame[at + len(noise) :])


@pytest.mark.parametrize("fault", [IndexError, TypeError, ValueError])
def test_a_sinks_own_fault_is_not_taken_for_the_frames(fault: type[Exception]) -> None:
    class Faulty(Market):
        calls = 0

        def on_trade(self, *said: Any) -> None:
            self.calls += 1
            raise fault

    for dialect, frame in ((BinanceMarket(), TRADE), (CoinbaseMarket(), MATCH)):
        sink = Faulty()
        with pytest.raises(fault):
            dialect.decode(frame, sink)
        assert sink.calls == 1


def test_a_time_without_zone_is_garbage() -> None:
    dialect = CoinbaseMarket()
    assert decode(dialect, MATCH.replace(b'01Z"', b'01"')).told == []
    assert dialect.garbage == 1
