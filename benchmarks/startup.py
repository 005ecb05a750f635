"""How long a start takes and whether memory stays flat.

Peers of a start: an interpreter that does nothing, and one that only imports the libraries that the
platform stands on. An hour of market replay is played SPEED times faster, since what could grow
grows with events, not with time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import describe

ROUNDS = 5
HOUR_S = float(os.environ.get("BENCH_REPLAY_S", "3600"))
SPEED = float(os.environ.get("BENCH_REPLAY_SPEED", "20"))
LIBRARIES = "import aiohttp, msgspec, picows, starlette, structlog, uvicorn, uvloop"


def run() -> dict[str, Any]:
    """Medians in seconds and MiB; `memory` has the resident size while the replay runs."""
    with tempfile.TemporaryDirectory() as folder:
        first_s = _ready_s(Path(folder))
        rounds = [(_ready_s(Path(folder)), _python_s("pass"), _python_s(LIBRARIES))]
        rounds += [
            (_ready_s(Path(folder)), _python_s("pass"), _python_s(LIBRARIES))
            for _ in range(ROUNDS - 1)
        ]
        ready_s, bare_s, libraries_s = (median(column) for column in zip(*rounds, strict=True))
        memory = _memory(Path(folder))
    return {
        "machine": describe(),
        "first_start_s": round(first_s, 2),
        "start_s": round(ready_s, 2),
        "bare_python_s": round(bare_s, 3),
        "libraries_only_s": round(libraries_s, 2),
        "start_to_libraries_ratio": round(ready_s / libraries_s, 2),
        "memory": memory,
    }


@contextlib.contextmanager
def _demo(data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A demo that is ready, and the seconds that it took."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "trading_platform", "demo", "--json", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--data", str(data), *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        yield process, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15)


def _ready_s(data: Path) -> float:
    with _demo(data) as (_, ready_s):
        return ready_s


def _python_s(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def _memory(data: Path) -> dict[str, float]:
    """Resident MiB: idle, a tenth into the replay (warm), and at its end."""
    with _demo(data) as (process, _):
        time.sleep(5)
        idle = _resident_mib(process.pid)
    with _demo(data, "--speed", str(SPEED)) as (process, _):
        time.sleep(HOUR_S / SPEED / 10)
        warm = _resident_mib(process.pid)
        time.sleep(HOUR_S / SPEED * 0.9)
        end = _resident_mib(process.pid)
    return {
        "idle_mib": idle,
        "replayed_s": HOUR_S,
        "speed": SPEED,
        "warm_mib": warm,
        "end_mib": end,
        "end_to_warm_ratio": round(end / warm, 3),
    }


def _resident_mib(process_id: int) -> float:
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
