"""`feed`: messages a second of one core through stream -> decode -> aggregate -> publication.

Beside it, on the same events in interleaved rounds: a bare typed decode of the same frames (the
limit) and cryptofeed (its own environment, BENCH_PEERS_PYTHON or .venv-peers). Every client is a
fresh process pinned to the first core, the replay server one on the last.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.report import rate, ratio
from trading_platform.cache.valkey import start_embedded

COUNT = int(os.environ.get("BENCH_FEED_MESSAGES", "200000"))
ROUNDS = int(os.environ.get("BENCH_FEED_ROUNDS", "5"))
PEERS_PYTHON = os.environ.get("BENCH_PEERS_PYTHON", ".venv-peers/bin/python")
TARGETS = {"times_cryptofeed": 4.0, "share_of_limit": 0.45}
_TIMEOUT_S = 300
_EXCHANGES = ("binance", "coinbase")


def run() -> dict[str, Any]:
    """All rounds; needs no network and no service."""
    return asyncio.run(_run())


async def _run() -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    why = _cryptofeed_missing()
    contestants = ["limit", "pipeline"] if why else ["limit", "pipeline", "cryptofeed"]
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        exchange: {name: [] for name in contestants} for exchange in _EXCHANGES
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _replay(cores[-1]) as port:
        valkey = await start_embedded(Path(folder))
        try:
            for number in range(ROUNDS):
                for exchange in _EXCHANGES:
                    for name in contestants:
                        command = _command(name, exchange, port, valkey.url)
                        took = await asyncio.to_thread(_pinned, command, cores[0])
                        runs[exchange][name].append(took)
                        speed = COUNT / took["cpu_s"]
                        print(f"round {number + 1} {exchange} {name}: {speed:,.0f}/core s")
        finally:
            await valkey.close()
    results = {exchange: _compare(runs[exchange]) for exchange in _EXCHANGES}
    return {
        "benchmark": "feed",
        "machine": describe(),
        "messages": COUNT,
        "rounds": ROUNDS,
        "published_to": "valkey",
        "cryptofeed": None if why else _cryptofeed_version(),
        **({"why": why} if why else {}),
        "targets": TARGETS,
        "results": results,
        "met": {exchange: _met(results[exchange]) for exchange in _EXCHANGES},
    }


def _compare(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    rates: dict[str, Any] = {name: rate(rounds, COUNT) for name, rounds in runs.items()}
    rates["share_of_limit"] = ratio(runs["pipeline"], runs["limit"])
    if "cryptofeed" in runs:
        rates["times_cryptofeed"] = ratio(runs["pipeline"], runs["cryptofeed"])
    return rates


def _met(result: dict[str, Any]) -> dict[str, bool | None]:
    return {
        name: result[name]["by_cpu"] >= target if name in result else None
        for name, target in TARGETS.items()
    }


def _command(name: str, exchange: str, port: int, url: str) -> list[str]:
    where = [exchange, str(port), str(COUNT)]
    if name == "cryptofeed":
        return [PEERS_PYTHON, "-m", "benchmarks.feed_cryptofeed", *where]
    if name == "limit":
        return [sys.executable, "-m", "benchmarks.feed_limit", *where]
    return [sys.executable, "-m", "benchmarks.feed_pipeline", *where, url]


def _pinned(command: list[str], core: int) -> dict[str, float]:
    """The JSON object that a program prints last, run on one core."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {core})
        try:
            output, _ = process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


@contextlib.contextmanager
def _replay(core: int) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.feed_server", str(COUNT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        os.sched_setaffinity(server.pid, {core})
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _cryptofeed_missing() -> str | None:
    if not Path(PEERS_PYTHON).exists():
        return f"no interpreter at {PEERS_PYTHON}; make .venv-peers or set BENCH_PEERS_PYTHON"
    probe = subprocess.run(
        [PEERS_PYTHON, "-c", "import cryptofeed"], capture_output=True, check=False
    )
    return "cryptofeed cannot be imported there" if probe.returncode else None


def _cryptofeed_version() -> str:
    code = "from importlib.metadata import version; print(version('cryptofeed'))"
    probe = subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True, check=True, text=True)
    return probe.stdout.strip()
