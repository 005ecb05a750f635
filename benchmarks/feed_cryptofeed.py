"""The same events through cryptofeed, in the peers' environment:
`python -m benchmarks.feed_cryptofeed EXCHANGE PORT COUNT`. Prints one JSON object.

Its callbacks only count: no aggregation, no publication. It speaks TLS only, so the address is
turned into a plain one where it connects: everybody here is measured without TLS.
"""

import json
import os
import sys
import time
from typing import Any

from cryptofeed import FeedHandler, connection
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import TICKER, TRADES
from cryptofeed.exchanges import Binance, Coinbase
from cryptofeed.symbols import Symbols

from benchmarks.feed_messages import BASES


class _Count:
    def __init__(self, count: int) -> None:
        self.left = self.count = count
        self.began = self.cpu_began = 0.0

    async def __call__(self, event: Any, received_at: float) -> None:
        if self.left == self.count:
            self.began, self.cpu_began = time.perf_counter(), time.process_time()
        self.left -= 1
        if not self.left:
            took = time.perf_counter() - self.began
            cpu = time.process_time() - self.cpu_began
            loop = "uvloop" if "uvloop" in sys.modules else "asyncio"
            print(json.dumps({"seconds": took, "cpu_s": cpu, "loop": loop}), flush=True)
            os._exit(0)  # a polite end takes ten seconds and is not measured


def main(exchange: str, port: int, count: int) -> None:
    """Consume `count` events and print how long it took."""
    feed, quote, joint, path = {
        "binance": (Binance, "USDT", "", ""),
        "coinbase": (Coinbase, "USD", "-", "/advanced"),
    }[exchange]
    plain = connection.connect
    connection.connect = lambda address, **options: plain(address.replace("wss:", "ws:"), **options)
    feed.websocket_endpoints = [
        WebsocketEndpoint(f"wss://127.0.0.1:{port}{path}", options={"compression": None})
    ]
    names = {f"{base}-{quote}": f"{base}{joint}{quote}" for base in BASES}
    kinds = dict.fromkeys(names, "spot")
    Symbols.set(feed.id, names, {"instrument_type": kinds, "tick_size": dict.fromkeys(names, "1")})
    handler = FeedHandler(config={"uvloop": True, "log": {"disabled": True}})
    counter = _Count(count)
    handler.add_feed(
        feed(
            symbols=list(names),
            channels=[TICKER, TRADES],
            callbacks={TICKER: counter, TRADES: counter},
        )
    )
    handler.run(install_signal_handlers=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
