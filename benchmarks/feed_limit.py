"""The limit of the feed benchmark: `python -m benchmarks.feed_limit EXCHANGE PORT COUNT`.

Each frame is decoded into a typed value with the fields that the pipeline needs, and dropped: what
no pipeline in Python on this decoder can pass. Prints one JSON object.
"""

import json
import sys

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.feed_stopwatch import PATHS, measure


class Binance(msgspec.Struct, gc=False):
    """bookTicker and trade."""

    s: str
    e: str = ""
    b: float = 0.0
    B: float = 0.0
    a: float = 0.0
    A: float = 0.0
    p: float = 0.0
    q: float = 0.0
    t: int = 0
    T: int = 0
    m: bool = False


class Coinbase(msgspec.Struct, gc=False):
    """ticker and match."""

    type: str
    product_id: str
    time: str
    price: float = 0.0
    size: float = 0.0
    side: str = ""
    trade_id: int = 0
    best_bid: float = 0.0
    best_bid_size: float = 0.0
    best_ask: float = 0.0
    best_ask_size: float = 0.0


class Decoding(WSListener):
    """Decodes and counts."""

    def __init__(self, type_: type[Binance | Coinbase]) -> None:
        self.seen = 0
        self._decode = msgspec.json.Decoder(type_, strict=False).decode

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows."""
        if frame.msg_type == WSMsgType.TEXT:
            self._decode(frame.get_payload_as_bytes())
            self.seen += 1


async def run(exchange: str, port: int, count: int) -> dict[str, float]:
    """Decode `count` messages."""
    listener = Decoding(Binance if exchange == "binance" else Coinbase)
    transport, _ = await ws_connect(lambda: listener, f"ws://127.0.0.1:{port}{PATHS[exchange]}")
    result = await measure(lambda: listener.seen, count)
    transport.disconnect()
    return result


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
