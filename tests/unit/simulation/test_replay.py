"""Recorded frames become the market they recorded."""

import gzip
from decimal import Decimal
from itertools import islice

import msgspec
import pytest

from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.simulation import recordings
from trading_platform.simulation.book import BookSide
from trading_platform.simulation.recordings import Line, Recording, read_lines
from trading_platform.simulation.replay import (
    Book,
    Level,
    Levels,
    RecordedPath,
    Timed,
    Trade,
    events,
    seed,
)

BINANCE = ExchangeId.BINANCE
ALL = (
    recordings.BINANCE_BTC_USDT,
    recordings.BINANCE_ETH_USDT,
    recordings.COINBASE_BTC_USD,
)


class Ladder:
    """The exchange's own book sides, fed level by level."""

    def __init__(self, book: Book) -> None:
        self.bids, self.asks = BookSide(Side.BUY), BookSide(Side.SELL)
        self.apply(Levels(book.bids, book.asks))

    def apply(self, levels: Levels) -> None:
        for changes, side in ((levels.bids, self.bids), (levels.asks, self.asks)):
            for price, quantity in changes:
                side.set_external(price, quantity)

    @property
    def best_bid(self) -> Decimal:
        assert self.bids.best is not None
        return self.bids.best

    @property
    def best_ask(self) -> Decimal:
        assert self.asks.best is not None
        return self.asks.best


def path(recording: Recording) -> RecordedPath:
    return RecordedPath(recording.load(), recording.exchange_id)


def lv(*levels: tuple[str, str]) -> list[Level]:
    return [(Decimal(price), Decimal(quantity)) for price, quantity in levels]


def timed(*market_events: Levels | Trade) -> list[Timed]:
    return [Timed(number, event) for number, event in enumerate(market_events)]


def trade(price: str, side: Side) -> Trade:
    return Trade(Decimal(price), Decimal(1), side)


@pytest.mark.parametrize("recording", ALL, ids=lambda recording: recording.exchange_symbol)
def test_a_replayed_book_is_never_crossed_and_trades_stand_near_it(recording: Recording) -> None:
    market_events = path(recording).round()
    first = next(market_events).event
    assert isinstance(first, Book)
    ladder, distances = Ladder(first), []
    for timed_event in market_events:
        event = timed_event.event
        if isinstance(event, Levels):
            ladder.apply(event)
            assert ladder.best_bid < ladder.best_ask
            assert ladder.best_ask - ladder.best_bid < Decimal(2)
        elif isinstance(event, Trade):
            best = ladder.best_ask if event.taker_side is Side.BUY else ladder.best_bid
            distances.append(abs(event.price - best))
    distances.sort()
    assert distances[len(distances) // 2] <= Decimal("0.05")  # five ticks, half of all trades
    assert distances[-1] < Decimal(10)  # 1.5 basis points, in the fastest 100 ms


@pytest.mark.parametrize("recording", ALL, ids=lambda recording: recording.exchange_symbol)
def test_offsets_start_at_zero_and_never_decrease(recording: Recording) -> None:
    offsets = [timed_event.offset_ns for timed_event in path(recording).round()]
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    assert 40e9 < offsets[-1] < 90e9


def test_the_seeded_binance_book_stands_at_the_first_trade() -> None:
    start = path(recordings.BINANCE_BTC_USDT).start
    assert start.bids[0][0] == Decimal("63551.02")  # the first trade: a seller hit this bid
    assert start.asks[0][0] == Decimal("63551.03")
    assert len(start.bids) > 400
    assert len(start.asks) > 400


def test_the_coinbase_snapshot_is_kept_whole() -> None:
    start = path(recordings.COINBASE_BTC_USD).start
    assert (len(start.bids), len(start.asks)) == (15278, 27112)
    assert start.asks[0] == (Decimal("63514.60"), Decimal("0.20000000"))


class _BookTicker(msgspec.Struct):
    u: int
    b: Decimal
    bid_quantity: Decimal = msgspec.field(name="B")
    a: Decimal
    ask_quantity: Decimal = msgspec.field(name="A")


class _Stream(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _DepthId(msgspec.Struct):
    u: int


def test_the_rebuilt_eth_book_equals_the_recorded_best_quotes_of_the_same_update() -> None:
    lines = list(read_lines(recordings.BINANCE_ETH_USDT.load()))
    tickers = {}
    for frame in (msgspec.json.decode(line.frame, type=_Stream) for line in lines):
        if frame.stream.endswith("bookTicker"):
            ticker = msgspec.json.decode(frame.data, type=_BookTicker)
            tickers[ticker.u] = ticker
    compared, ladder = 0, None
    for line in lines:
        event = next((found.event for found in events([line], BINANCE)), None)
        if isinstance(event, Book):
            ladder = Ladder(event)
        elif isinstance(event, Levels) and ladder is not None:
            ladder.apply(event)
            data = msgspec.json.decode(line.frame, type=_Stream).data
            same = tickers.get(msgspec.json.decode(data, type=_DepthId).u)
            if same is not None:
                compared += 1
                assert (same.b, same.a) == (ladder.best_bid, ladder.best_ask)
                assert same.bid_quantity == ladder.bids.total(same.b)
                assert same.ask_quantity == ladder.asks.total(same.a)
    assert compared > 100


def test_depth_up_to_the_snapshot_is_left_out() -> None:
    lines = [
        Line(5, b'{"lastUpdateId":10,"bids":[["1","1"]],"asks":[["2","1"]]}'),
        Line(6, _depth(last_id=10)),
        Line(9, _depth(last_id=11)),
    ]
    found = list(events(lines, BINANCE))
    assert [type(timed_event.event) for timed_event in found] == [Book, Levels]
    assert [timed_event.offset_ns for timed_event in found] == [0, 4]


def _depth(last_id: int) -> bytes:
    data = f'{{"E":1,"U":1,"u":{last_id},"b":[["1","0"],["0.9","3"],["1","2"],["0.8","0"]],"a":[]}}'
    return f'{{"stream":"btcusdt@depth@100ms","data":{data}}}'.encode()


def test_a_price_told_twice_keeps_its_last_quantity_and_removals_come_first() -> None:
    (found,) = events([Line(1, _depth(last_id=1))], BINANCE)
    assert isinstance(found.event, Levels)
    assert found.event.bids == lv(("0.8", "0"), ("1", "2"), ("0.9", "3"))


def test_coinbase_match_side_is_the_makers() -> None:
    frame = (
        b'{"type":"match","trade_id":1,"side":"sell","size":"0.2","price":"9",'
        b'"product_id":"BTC-USD","time":"2026-07-07T22:58:17.164892Z"}'
    )
    (found,) = events([Line(0, frame)], ExchangeId.COINBASE)
    assert found.event == Trade(Decimal(9), Decimal("0.2"), Side.BUY)


def test_a_clock_that_jumps_back_does_not_turn_time_around() -> None:
    lines = [Line(at, _depth(last_id=at)) for at in (100, 40, 130)]
    assert [found.offset_ns for found in events(lines, BINANCE)] == [0, 0, 30]


def test_seed_takes_first_quantities_and_never_a_removal() -> None:
    book = seed(
        timed(
            Levels(lv(("99", "1"), ("98", "0")), lv(("101", "2"))),
            Levels(lv(("99", "5"), ("98", "7")), lv(("102", "3"))),
        )
    )
    assert book == Book(lv(("99", "1")), lv(("101", "2"), ("102", "3")))


def test_seed_leaves_out_what_the_first_trade_contradicts() -> None:
    book = seed(
        timed(
            Levels(lv(("100", "1"), ("101", "1")), lv(("100", "1"), ("102", "1"))),
            trade("100", Side.SELL),
        )
    )
    assert book == Book(lv(("100", "1")), lv(("102", "1")))


def test_seed_leaves_out_levels_that_came_after_the_other_side_had_been_there() -> None:
    book = seed(
        timed(
            Levels(lv(("100", "1")), lv(("101", "1"))),
            Levels(lv(("104", "1")), lv(("101", "0"))),
            Levels(lv(("104", "0")), lv(("103", "1"), ("105", "1"))),
        )
    )
    # 104 was quoted where asks had stood at 101, 103 where bids had stood at 104.
    assert book == Book(lv(("100", "1")), lv(("101", "1"), ("105", "1")))


def test_seed_leaves_out_levels_that_trades_went_past() -> None:
    book = seed(
        timed(
            trade("100", Side.BUY),
            trade("104", Side.BUY),
            Levels(lv(("99", "1"), ("98", "1")), lv(("103", "1"), ("104", "1"))),
        )
    )
    assert book == Book(lv(("99", "1"), ("98", "1")), lv(("104", "1")))


def test_lines_with_and_without_receive_times_are_read() -> None:
    compressed = gzip.compress(b'123 {"a":1}\n{"b":2}\n')
    assert list(read_lines(compressed)) == [Line(123, b'{"a":1}'), Line(0, b'{"b":2}')]


def test_a_recording_cut_off_by_a_crash_is_read_up_to_there() -> None:
    whole = recordings.BINANCE_BTC_USDT.load()
    lines = list(islice(read_lines(whole[: len(whole) // 2]), 2000))
    assert 100 < len(lines) < 1198
    assert lines == list(read_lines(whole))[: len(lines)]


def test_of_a_recording_of_several_symbols_only_the_named_one_is_played() -> None:
    binance = gzip.compress(
        _depth(last_id=1) + b"\n" + _depth(last_id=2).replace(b"btcusdt", b"ethusdt") + b"\n"
    )
    assert len(list(RecordedPath(binance, BINANCE, "BTCUSDT").round())) == 2  # book, levels
    assert len(list(RecordedPath(binance, BINANCE).round())) == 3
    frame = b'{"type":"match","side":"buy","size":"1","price":"9","product_id":"%s-USD"}\n'
    coinbase = gzip.compress(frame % b"BTC" + frame % b"ETH" + frame % b"ETH")
    assert len(list(RecordedPath(coinbase, ExchangeId.COINBASE, "ETH-USD").round())) == 3


def test_a_snapshot_after_a_reconnect_is_played_too() -> None:
    frames = (
        b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1","1"]],"asks":[["2","1"]]}',
        b'{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","3"]]}',
        b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1","7"]],"asks":[["2","1"]]}',
    )
    played = list(RecordedPath(gzip.compress(b"\n".join(frames)), ExchangeId.COINBASE).round())
    assert [type(found.event) for found in played] == [Book, Levels, Book]
    first, _, again = (found.event for found in played)
    assert isinstance(first, Book)
    assert isinstance(again, Book)
    assert first.bids == lv(("1", "1"))
    assert again.bids == lv(("1", "7"))
