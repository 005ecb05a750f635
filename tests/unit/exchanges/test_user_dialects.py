"""User streams: what an event proves, and what it does not."""

from decimal import Decimal
from typing import Any

import msgspec

from tests.unit.exchanges.sinks import Account
from trading_platform.exchanges.binance_user import BinanceUser
from trading_platform.exchanges.coinbase_user import CoinbaseUser
from trading_platform.exchanges.dialect import UserDialect
from trading_platform.market.orders import Liquidity, OrderStatus

EXECUTION: dict[str, Any] = {
    "e": "executionReport",
    "E": 1793356800125,
    "s": "BTCUSDT",
    "c": "ours",
    "S": "BUY",
    "o": "LIMIT",
    "f": "GTC",
    "q": "0.05000000",
    "p": "64120.00000000",
    "g": -1,
    "C": "",
    "x": "TRADE",
    "X": "PARTIALLY_FILLED",
    "r": "NONE",
    "i": 31400271,
    "l": "0.02000000",
    "z": "0.02000000",
    "L": "64119.00000000",
    "n": "0.00002000",
    "N": "BTC",
    "T": 1793356800123,
    "t": 6487001234,
    "I": 70000124,
    "w": True,
    "m": False,
    "M": True,
    "Z": "1282.38000000",
    "V": "EXPIRE_MAKER",
}


def decode(dialect: UserDialect, *messages: Any) -> Account:
    sink = Account()
    for message in messages:
        frame = message if isinstance(message, bytes) else msgspec.json.encode(message)
        dialect.decode(frame, sink)
    return sink


def event(**changes: Any) -> dict[str, Any]:
    return {"subscriptionId": 0, "event": {**EXECUTION, **changes}}


def test_binance_trade_event_carries_its_fill() -> None:
    (report,) = decode(BinanceUser(), event()).reports
    assert report.client_order_id == "ours"
    assert report.status is OrderStatus.PARTIALLY_FILLED
    (fill,) = report.fills
    assert (fill.trade_id, fill.price, fill.quantity, fill.fee) == (
        "6487001234",
        Decimal(64119),
        Decimal("0.02"),
        Decimal("0.00002"),
    )
    assert fill.liquidity is Liquidity.TAKER


def test_binance_cancel_event_names_the_order_in_capital_c() -> None:
    canceled = event(x="CANCELED", X="CANCELED", C="ours", c="the-cancel", t=-1, N=None, n="0")
    (report,) = decode(BinanceUser(), canceled).reports
    assert report.client_order_id == "ours"
    assert report.status is OrderStatus.CANCELED
    assert report.fills == ()
    assert report.filled_quantity == Decimal("0.02")


def test_binance_expiry_tells_its_reason() -> None:
    expired = event(x="EXPIRED", X="EXPIRED", t=-1, eR="INSUFFICIENT_LIQUIDITY")
    (report,) = decode(BinanceUser(), expired).reports
    assert (report.status, report.reason) == (OrderStatus.EXPIRED, "INSUFFICIENT_LIQUIDITY")


def test_binance_balances() -> None:
    position = {
        "e": "outboundAccountPosition",
        "E": 1,
        "u": 1,
        "B": [{"a": "BTC", "f": "1.01998000", "l": "0.5"}],
    }
    (balance,) = decode(BinanceUser(), {"subscriptionId": 0, "event": position}).balances
    assert (balance.currency, balance.free, balance.held) == (
        "BTC",
        Decimal("1.01998"),
        Decimal("0.5"),
    )


def test_binance_announced_ends_and_refusals_are_told_apart() -> None:
    for frame in (
        {"id": "user-data", "status": 401, "error": {"code": -2015, "msg": "Invalid API-key"}},
        {"id": None, "status": 401, "error": {"code": -2015, "msg": "revoked"}},
        {"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}},
        {"event": {"e": "serverShutdown", "E": 1}},
    ):
        dialect = BinanceUser()
        decode(dialect, frame)
        assert bool(dialect.refused) == ("status" in frame)
        assert bool(dialect.leaving) == ("status" not in frame)


def test_binance_odd_frames_are_counted() -> None:
    dialect = BinanceUser()
    sink = decode(
        dialect,
        {"id": "user-data", "status": 200, "result": {"subscriptionId": 0}},
        {"subscriptionId": 0, "event": {"e": "balanceUpdate", "a": "BTC", "d": "1"}},
        b"{",
        event(z="NaN"),
    )
    assert (dialect.unknown, dialect.garbage) == (1, 2)
    assert sink.reports == []
    assert len(sink.gaps) == 1  # an order event that could not be read must be asked for


def test_binance_login_frame() -> None:
    (frame,) = BinanceUser().login({"apiKey": "k", "signature": "s"}, ["BTCUSDT"])
    assert msgspec.json.decode(frame) == {
        "id": "user-data",
        "method": "userDataStream.subscribe.signature",
        "params": {"apiKey": "k", "signature": "s"},
    }


def coinbase(type: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": type,
        "product_id": "BTC-USD",
        "time": "2026-07-07T22:58:17.000001Z",
        "sequence": 1,
        "order_id": "o1",
        "user_id": "u",
        **fields,
    }


RECEIVED = coinbase("received", size="1.0", price="100", order_type="limit", client_oid="ours")
OPEN = coinbase("open", remaining_size="1.0", price="100")


def match(trade_id: int, size: str, price: str = "100", **names: str) -> dict[str, Any]:
    ids = {"maker_order_id": "o1", "taker_order_id": "x", **names}
    return coinbase("match", trade_id=trade_id, size=size, price=price, order_id="", **ids)


def done(reason: str, remaining: str, **fields: Any) -> dict[str, Any]:
    return coinbase("done", reason=reason, remaining_size=remaining, **fields)


def test_coinbase_life_of_an_order_seen_whole() -> None:
    dialect = CoinbaseUser()
    sink = decode(
        dialect,
        RECEIVED,
        OPEN,
        match(5, "0.25"),
        match(6, "0.75", "101", maker_order_id="x", taker_order_id="o1"),
        done("filled", "0"),
    )
    assert [report.status for report in sink.reports] == [
        OrderStatus.OPEN,
        OrderStatus.OPEN,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
    ]
    last = sink.reports[-1]
    assert (last.filled_quantity, last.filled_notional) == (Decimal(1), Decimal("100.75"))
    assert all(report.client_order_id == "ours" for report in sink.reports)
    assert all(report.fills == () for report in sink.reports)  # fees are only in /fills
    assert sink.gaps == []


def test_coinbase_repeated_match_is_counted_once() -> None:
    sink = decode(CoinbaseUser(), RECEIVED, match(5, "0.25"), match(5, "0.25"))
    assert sink.reports[-1].filled_quantity == Decimal("0.25")
    assert len(sink.reports) == 2


def test_coinbase_order_older_than_the_connection_is_asked_for_not_guessed() -> None:
    sink = decode(CoinbaseUser(), OPEN, match(5, "0.25"), done("filled", "0"))
    assert sink.reports == []
    assert len(sink.gaps) == 2


def test_coinbase_sums_that_do_not_add_up_are_asked_for() -> None:
    sink = decode(CoinbaseUser(), RECEIVED, match(5, "0.25"), done("filled", "0"))
    assert [report.status for report in sink.reports][-1] is OrderStatus.PARTIALLY_FILLED
    assert len(sink.gaps) == 1


def test_coinbase_cancel_and_engine_endings_differ() -> None:
    by_us = decode(CoinbaseUser(), RECEIVED, done("canceled", "1.0"))
    assert by_us.reports[-1].status is OrderStatus.CANCELED
    for reason in (101, "106", "101:Time In Force"):
        by_it = decode(CoinbaseUser(), RECEIVED, done("canceled", "1.0", cancel_reason=reason))
        assert by_it.reports[-1].status is OrderStatus.EXPIRED


def test_coinbase_refusal_is_kept() -> None:
    dialect = CoinbaseUser()
    decode(dialect, {"type": "error", "message": "Failed", "reason": "IP does not match"})
    assert dialect.refused == "Failed IP does not match"
    quiet = CoinbaseUser()
    sink = decode(quiet, {"type": "subscriptions", "channels": []}, coinbase("heartbeat"), b"[1")
    assert (quiet.refused, quiet.unknown, quiet.garbage) == (None, 0, 1)
    assert sink.reports == []


def test_coinbase_login_frame() -> None:
    (frame,) = CoinbaseUser().login({"key": "k", "timestamp": "1.0"}, ["BTC-USD", "ETH-USD"])
    assert msgspec.json.decode(frame) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD", "ETH-USD"],
        "channels": ["user", {"name": "heartbeat", "product_ids": ["BTC-USD"]}],
        "key": "k",
        "timestamp": "1.0",
    }
