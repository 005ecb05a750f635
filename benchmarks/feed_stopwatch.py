"""How long a stream of a known number of messages takes, from the first to the last."""

import asyncio
import time
from collections.abc import Callable

_LOOK_S = 0.002

PATHS = {"binance": "/ws", "coinbase": "/exchange"}
"""Where the replay server sends each exchange's stream."""


async def measure(seen: Callable[[], int], count: int) -> dict[str, float]:
    """Wall and processor seconds until `seen()` is `count`, looking every 2 ms.

    What came before the first look is added in proportion.
    """
    while not seen():  # noqa: ASYNC110  # an event would be work in every message
        await asyncio.sleep(_LOOK_S)
    first = seen()
    began, cpu_began = time.perf_counter(), time.process_time()
    while seen() < count:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    share = count / (count - first)
    return {
        "seconds": (time.perf_counter() - began) * share,
        "cpu_s": (time.process_time() - cpu_began) * share,
    }
