"""What ships with the package is whole, small, and carries its licence."""

import gzip
import io
from collections import Counter

import msgspec
import pytest

from trading_platform.simulation import recordings
from trading_platform.simulation.recordings import FOLDER, Recording, parse_line, read_lines

COUNTS = {
    "BTCUSDT": {"btcusdt@trade": 748, "btcusdt@depth@100ms": 450},
    "ETHUSDT": {
        "snapshot": 1,
        "ethusdt@bookTicker": 6589,
        "ethusdt@trade": 1395,
        "ethusdt@depth@100ms": 845,
    },
    "BTC-USD": {
        "l2update": 979,
        "match": 344,
        "heartbeat": 59,
        "subscriptions": 1,
        "snapshot": 1,
        "last_match": 1,
    },
}


class _Kind(msgspec.Struct):
    stream: str = ""
    type: str = ""


@pytest.mark.parametrize(
    "recording",
    [recordings.BINANCE_BTC_USDT, recordings.BINANCE_ETH_USDT, recordings.COINBASE_BTC_USD],
    ids=lambda recording: recording.exchange_symbol,
)
def test_every_recorded_frame_is_there(recording: Recording) -> None:
    kinds = Counter[str]()
    for line in read_lines(recording.load()):
        kind = msgspec.json.decode(line.frame, type=_Kind)
        kinds[kind.stream or kind.type or "snapshot"] += 1
    assert kinds == COUNTS[recording.exchange_symbol]


def test_each_set_names_its_origin_and_licence_and_all_are_small() -> None:
    sets = [folder for folder in FOLDER.iterdir() if folder.is_dir()]
    assert len(sets) == 2
    for folder in sets:
        notice = (folder / "NOTICE.md").read_text()
        assert "commit `" in notice
        assert "Permission is hereby granted, free of charge" in notice
        assert sum(file.stat().st_size for file in folder.iterdir()) < 750_000


def test_a_line_too_long_to_be_a_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "LINE_BYTES_MAX", 10)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(b'{"a":1}\n{"long":"........"}\n')
    lines = read_lines(packed.getvalue())
    assert next(lines) == parse_line(b'{"a":1}')
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        next(lines)
