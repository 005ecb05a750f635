"""Reads recorded files and counts what they hold, by the names the manifest uses."""

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.builders import an_instrument, an_order
from trading_platform.exchanges import binance_messages, coinbase_messages
from trading_platform.exchanges.binance_trading import BinanceTrading
from trading_platform.exchanges.coinbase_trading import CoinbaseTrading
from trading_platform.exchanges.dialect import HttpResponse
from trading_platform.exchanges.ports import Accepted, Found

ROOT = Path(__file__).parents[3]
FOLDERS = (ROOT / "tests/recordings", ROOT / "src/trading_platform/simulation/recordings")
MANIFEST: dict[str, dict[str, Any]] = msgspec.json.decode(
    (FOLDERS[0] / "manifest.json").read_bytes()
)

BINANCE, COINBASE = BinanceTrading(), CoinbaseTrading()
ORDER, INSTRUMENT = an_order(), an_instrument()
Counts = Counter[str]


def find(name: str) -> Path | None:
    """Where the file is, if it is here: sets without a licence come from RECORDED_DATA."""
    folders = [*FOLDERS, Path(os.environ.get("RECORDED_DATA", "/nonexistent"))]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def read(name: str) -> bytes:
    """The file's bytes, unpacked."""
    path = find(name)
    assert path is not None
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lines(name: str) -> Iterator[bytes]:
    """The lines that hold something."""
    return (line for line in read(name).splitlines() if line.strip())


def ok(body: Any) -> HttpResponse:
    """A good answer; `body` is bytes or what json made of them."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status=200, headers={}, body=raw)


def count(name: str) -> Counts:
    """Parse the whole file typed; any message that does not fit raises."""
    folder, _, file = name.partition("/")
    return READERS[folder](name, file)


def _flashbook(name: str, file: str) -> Counts:
    if file.startswith("binance-ws"):
        return Counter(binance_messages.parse(line)[0] for line in lines(name))
    if file.startswith("coinbase-ws"):
        return Counter(_coinbase_label(line) for line in lines(name))
    if file.startswith("binance-rest"):
        msgspec.json.decode(read(name), type=binance_messages.DepthSnapshot)
    else:
        msgspec.json.decode(read(name), type=coinbase_messages.Book)
    return Counter(object=1)


def _coinbase_label(line: bytes) -> str:
    kind, message = coinbase_messages.parse(line)
    product = getattr(message, "product_id", "")
    return f"{kind}:{product}" if product else kind


def _hftbacktest(name: str, file: str) -> Counts:
    counts: Counts = Counter()
    for line in lines(name):
        stream, message = binance_messages.parse(line.partition(b" ")[2])
        if isinstance(message, binance_messages.DepthSnapshot):
            stream = "asks|bids|lastUpdateId"
        counts[stream] += 1
    return counts


def _cryptofeed(name: str, file: str) -> Counts:
    counts: Counts = Counter()
    for line in lines(name):
        if line.startswith(b"configuration"):
            counts["configuration line"] += 1
        elif line.startswith(b"wss:"):
            counts["connection/sent line"] += 1
        elif line.startswith(b"http"):
            url, _, rest = line.partition(b" -> ")
            _cryptofeed_rest(url.decode(), rest.partition(b": ")[2])
            counts[f"HTTP {url.decode().partition('?')[0]}"] += 1
        elif file.startswith("binance"):
            stream, _ = binance_messages.parse(line.partition(b": ")[2])
            counts[stream.partition("@")[2]] += 1
        else:
            counts[coinbase_messages.parse(line.partition(b": ")[2])[0]] += 1
    return counts


def _cryptofeed_rest(url: str, body: bytes) -> None:
    if "/depth" in url:
        msgspec.json.decode(body, type=binance_messages.DepthSnapshot)
    elif "/exchangeInfo" in url:
        assert len(BINANCE.read_instruments(ok(body))) == len(msgspec.json.decode(body)["symbols"])
    else:
        assert len(COINBASE.read_instruments(ok(body))) == len(msgspec.json.decode(body))


def _gocryptotrader(name: str, file: str) -> Counts:
    if file.startswith("ws"):
        frames = [msgspec.json.decode(line)["data"] for line in lines(name)]
        for frame in frames:
            binance_messages.parse(msgspec.json.encode(frame))
        return Counter(frame["e"] for frame in frames)
    counts: Counts = Counter()
    for path, methods in msgspec.json.decode(read(name))["routes"].items():
        for method, answers in methods.items():
            for answer in answers:
                _binance_rest(method, path, answer["data"])
                counts[f"{method} {path}"] += 1
    return counts


def _binance_rest(method: str, path: str, data: Any) -> None:
    match method, path.rpartition("/")[2]:
        case "GET", "exchangeInfo":
            assert len(BINANCE.read_instruments(ok(data))) == len(data["symbols"])
        case "GET", "account":
            BINANCE.read_balances(ok(data))
        case "GET", "openOrders":
            assert len(BINANCE.read_orders(ok(data))) == len(data)
        case "GET", "order":
            assert isinstance(BINANCE.read_looked_up(ORDER, INSTRUMENT, ok(data)), Found)
        case "DELETE", "order":
            assert isinstance(BINANCE.read_canceled(ORDER, INSTRUMENT, ok(data)), Accepted)
        case "GET", "depth":
            msgspec.convert(data, binance_messages.DepthSnapshot)
        case "GET", "klines":
            msgspec.convert(data, list[binance_messages.CandleRow])
        case "GET", "24hr":
            rows = data if isinstance(data, list) else [data]
            msgspec.convert(rows, list[binance_messages.DayTickerRow])
        case "GET", "bookTicker":
            msgspec.convert(data, binance_messages.BookTickerRow)
        case "GET", "price" | "avgPrice":
            msgspec.convert(data, binance_messages.PriceRow)
        case _, "userDataStream" | "getall" | "test":
            pass  # retired in 2026, the wallet's, and an empty answer: nothing of ours reads them
        case "POST", "order":
            assert data is None  # the recorder kept the request only
        case _:
            raise AssertionError(f"no reader for {method} {path}")


def _coinbase_pro_node(name: str, file: str) -> Counts:
    body = read(name)
    if file.startswith("ws__"):
        return Counter([coinbase_messages.parse(body)[0]])
    data = msgspec.json.decode(body)
    if file.endswith("-60.json.gz"):
        # That library's own form of candles: named fields.
        msgspec.convert(data, list[_NamedCandle], strict=False)
    elif "__candles__" in file:
        msgspec.convert(data, list[coinbase_messages.CandleRow])
    elif "__book__" in file:
        msgspec.json.decode(body, type=coinbase_messages.Book)
    elif file == "rest__accounts__GET-200.json":
        COINBASE.read_balances(ok(body))
    elif "__accounts__" in file or "trailing-volume" in file or "verify" in file:
        pass  # endpoints that nothing of ours calls
    else:
        raise AssertionError(f"no reader for {file}")
    return Counter({"array elements": len(data)}) if isinstance(data, list) else Counter(object=1)


class _NamedCandle(msgspec.Struct):
    open: float
    high: float
    low: float
    close: float
    volume: float


def _bbgo(name: str, file: str) -> Counts:
    data = msgspec.json.decode(read(name))
    if file.startswith("ws"):
        return Counter(coinbase_messages.parse(msgspec.json.encode(frame))[0] for frame in data)
    counts: Counts = Counter()
    for exchange in data:
        request, response = exchange["request"], exchange["response"]
        path = request["url"].removeprefix("https://api.exchange.coinbase.com").partition("?")[0]
        _coinbase_rest(request["method"], path, ok(response["body"].encode()))
        counts[f"{request['method']} {path} -> {response['status_code']}"] += 1
    return counts


def _coinbase_rest(method: str, path: str, response: HttpResponse) -> None:
    match method, path.split("/")[1:]:
        case "GET", ["products"]:
            rows = len(msgspec.json.decode(response.body))
            assert len(COINBASE.read_instruments(response)) == rows
        case "GET", ["products", _, "candles"]:
            msgspec.json.decode(response.body, type=list[coinbase_messages.CandleRow])
        case "GET", ["products", _, "ticker"]:
            msgspec.json.decode(response.body, type=coinbase_messages.TickerRow)
        case "GET", ["accounts"]:
            COINBASE.read_balances(response)
        case "POST", ["orders"]:
            assert isinstance(COINBASE.read_placed(ORDER, INSTRUMENT, response), Accepted)
        case "GET", ["orders"]:
            rows = len(msgspec.json.decode(response.body))
            assert len(COINBASE.read_orders(response)) == rows
        case "GET", ["orders", _]:
            assert isinstance(COINBASE.read_looked_up(ORDER, INSTRUMENT, response), Found)
        case "DELETE", ["orders", _]:
            assert isinstance(COINBASE.read_canceled(ORDER, INSTRUMENT, response), Accepted)
        case _:
            raise AssertionError(f"no reader for {method} {path}")


def _exchange_info(name: str, file: str) -> Counts:
    data = msgspec.json.decode(read(name))
    assert len(BINANCE.read_instruments(ok(data))) == len(data["symbols"])
    return Counter(object=1)


def _rows(name: str, file: str) -> Counts:
    rows = list(csv.reader(io.StringIO(read(name).decode())))
    numbers = [row for row in rows if row and row[0][:1].isdigit()]
    assert all(len(row) == len(numbers[0]) for row in numbers)
    return Counter(rows=len(numbers))


READERS: dict[str, Callable[[str, str], Counts]] = {
    "flashbook-2026-07-07": _flashbook,
    "hftbacktest-2024-08": _hftbacktest,
    "cryptofeed-2021": _cryptofeed,
    "gocryptotrader-binance": _gocryptotrader,
    "coinbase-pro-node": _coinbase_pro_node,
    "bbgo-coinbase-2025-08": _bbgo,
    "exchangeinfo-2026-09": _exchange_info,
    "lean-coinbase-binance": _rows,
    "iaqf-1m-bars-2023-03": _rows,
}
