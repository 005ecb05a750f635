"""Every other message of Binance's streams, typed, for tools and checks (web-socket-streams).

The hot path does not come here: it reads only quotes and trades, in binance_market.py.
"""

from decimal import Decimal

import msgspec

from trading_platform.exchanges.binance_user import AccountPosition, ExecutionReport

Level = tuple[Decimal, Decimal]
"""Price and quantity; a quantity of zero removes the level."""


class Trade(msgspec.Struct, frozen=True):
    """trade"""

    s: str
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class AggregateTrade(msgspec.Struct, frozen=True):
    """aggTrade"""

    s: str
    a: int
    p: Decimal
    q: Decimal
    f: int
    l: int  # noqa: E741 - Binance's name
    T: int
    m: bool


class DepthUpdate(msgspec.Struct, frozen=True):
    """depthUpdate: changes from update id U to u."""

    s: str
    U: int
    u: int
    b: tuple[Level, ...]
    a: tuple[Level, ...]


class DepthSnapshot(msgspec.Struct, frozen=True, rename="camel"):
    """GET depth, or a partial-depth stream."""

    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class BookTicker(msgspec.Struct, frozen=True):
    """bookTicker, which has no event name."""

    u: int
    s: str
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal


class Candle(msgspec.Struct, frozen=True):
    """`k` of a kline event; `x` tells whether it is closed."""

    t: int
    T: int
    i: str
    o: Decimal
    c: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - Binance's name
    v: Decimal
    n: int
    x: bool
    q: Decimal


class Kline(msgspec.Struct, frozen=True):
    """kline"""

    s: str
    k: Candle


class DayTicker(msgspec.Struct, frozen=True):
    """24hrTicker"""

    s: str
    c: Decimal
    b: Decimal
    B: Decimal
    a: Decimal
    A: Decimal
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - Binance's name
    v: Decimal
    q: Decimal


class BalanceUpdate(msgspec.Struct, frozen=True):
    """balanceUpdate: a deposit or withdrawal of `d`."""

    a: str
    d: Decimal
    T: int


class ListedOrder(msgspec.Struct, frozen=True):
    """One order of a list."""

    s: str
    i: int
    c: str


class ListStatus(msgspec.Struct, frozen=True):
    """listStatus"""

    s: str
    g: int
    c: str
    l: str  # noqa: E741 - Binance's name
    L: str
    O: tuple[ListedOrder, ...]  # noqa: E741 - Binance's name


CandleRow = tuple[
    int, Decimal, Decimal, Decimal, Decimal, Decimal, int, Decimal, int, Decimal, Decimal, str
]
"""GET klines: open time ms, open, high, low, close, volume, close time ms, quote volume, trades,
taker base, taker quote, unused.
"""


class DayTickerRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET ticker/24hr"""

    symbol: str
    bid_price: Decimal
    ask_price: Decimal
    last_price: Decimal
    volume: Decimal
    close_time: int


class BookTickerRow(msgspec.Struct, frozen=True, rename="camel"):
    """GET ticker/bookTicker"""

    symbol: str
    bid_price: Decimal
    bid_qty: Decimal
    ask_price: Decimal
    ask_qty: Decimal


class PriceRow(msgspec.Struct, frozen=True):
    """GET ticker/price, and GET avgPrice, which names no symbol"""

    price: Decimal
    symbol: str = ""


class Acknowledged(msgspec.Struct, frozen=True):
    """`{"result":null,"id":1}`"""

    id: int | str | None
    result: list[str] | None


Message = (
    Trade
    | AggregateTrade
    | DepthUpdate
    | DepthSnapshot
    | BookTicker
    | Kline
    | DayTicker
    | ExecutionReport
    | AccountPosition
    | BalanceUpdate
    | ListStatus
    | Acknowledged
)

KINDS: dict[str, type[Message]] = {
    "trade": Trade,
    "aggTrade": AggregateTrade,
    "depthUpdate": DepthUpdate,
    "kline": Kline,
    "24hrTicker": DayTicker,
    "executionReport": ExecutionReport,
    "outboundAccountPosition": AccountPosition,
    "balanceUpdate": BalanceUpdate,
    "listStatus": ListStatus,
}


class _Wrapped(msgspec.Struct, frozen=True):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Shape(msgspec.Struct, frozen=True, rename={"last_update_id": "lastUpdateId"}):
    e: str = ""
    u: int | None = None
    last_update_id: int | None = None


def parse(frame: bytes) -> tuple[str, Message]:
    """(stream name, message); the name is empty outside combined streams.

    Raises msgspec.DecodeError for what is none of these.
    """
    wrapped = msgspec.json.decode(frame, type=_Wrapped)
    body = bytes(wrapped.data) if wrapped.data else frame
    return wrapped.stream, msgspec.json.decode(body, type=_kind(body))


def _kind(body: bytes) -> type[Message]:
    shape = msgspec.json.decode(body, type=_Shape)
    if shape.e:
        kind = KINDS.get(shape.e)
        if kind is None:
            raise msgspec.ValidationError(f"no such event: {shape.e[:40]}")
        return kind
    if shape.last_update_id is not None:
        return DepthSnapshot
    return Acknowledged if shape.u is None else BookTicker
