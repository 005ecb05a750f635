"""`order-path`: what the platform adds to an order, beside a bare ccxt call to the same exchange.

Simulated exchanges and the platform run in processes of their own; all orders, ours and ccxt's,
pass one relay in this process, which notes when a request for the exchange went by. "to the
exchange" is from just before the call until then; it holds, for us, the API, the limits, the kill
switch, the checks and the durable intent. Orders are LIMIT IOC far below the market: none rests.
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt.async_support

from benchmarks.machine import describe
from trading_platform.opening import open_tenants
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.tenants.model import Tier

SEQUENTIAL = int(os.environ.get("BENCH_ORDERS_SEQUENTIAL", "400"))
CONCURRENT = int(os.environ.get("BENCH_ORDERS_CONCURRENT", "1600"))
ROUNDS = int(os.environ.get("BENCH_ORDERS_ROUNDS", "3"))
IN_FLIGHT = 32
TENANTS = 64
"""Enough that neither a tier's budget nor an account's order limit is what we measure."""
_READY_S = 30.0
_PATHS = {
    **{"public": "/api/v3", "private": "/api/v3", "v1": "/api/v1"},
    **{"sapi": "/sapi/v1", "sapiV2": "/sapi/v2", "sapiV3": "/sapi/v3"},
}
"""Where ccxt looks for what; none may be left pointing at the real exchange."""
_MARKER = b"POST /api/v3/order"

Place = Callable[[int], Awaitable[None]]


def run() -> dict[str, Any]:
    """All rounds; needs no network and no service."""
    return asyncio.run(_run())


class Relay:
    """A TCP relay in front of the exchange that notes when the last order went by."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.last_s = 0.0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(
            self._copy(reader, to_writer, watch=True),
            self._copy(to_reader, writer, watch=False),
            return_exceptions=True,
        )

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watch: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if watch and _MARKER in data:
                    self.last_s = time.perf_counter()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


async def _run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with _program(
            "simulate", folder, "--binance-port", "0", "--coinbase-port", "0"
        ) as at:
            where = urlsplit(at["binance"])
            relay = Relay(str(where.hostname), int(where.port or 0))
            server = await asyncio.start_server(relay.pump, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            os.mkdir(folder / "serve", mode=0o700)
            keys = await _make_tenants(folder / "serve")
            exchanges = ("--exchange", f"BINANCE={url}", "--port", "0")
            async with _program("serve", folder, *exchanges) as platform:
                result = await _compare(relay, platform["url"], url, keys)
            server.close()
    return result


async def _compare(
    relay: Relay, api: str, exchange: str, keys: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    async with _ours(api, [key for _, key in keys]) as ours, _ccxt(exchange, keys) as theirs:
        for place in (ours, theirs):  # connections, clocks, markets and user streams
            await _concurrently(place, len(keys))
        runs: dict[str, list[dict[str, float]]] = {"platform": [], "ccxt": []}
        for number in range(ROUNDS):
            for name, place in (("platform", ours), ("ccxt", theirs)):
                took = await _one_by_one(place, relay, SEQUENTIAL)
                took["orders_per_s"] = round(await _concurrently(place, CONCURRENT))
                runs[name].append(took)
                print(f"round {number + 1} {name}: {took}", flush=True)
                await asyncio.sleep(10)  # the exchange's window of orders per account
    both = {
        name: {key: round(median(each[key] for each in took), 3) for key in took[0]}
        for name, took in runs.items()
    }
    ratios = {key: round(both["platform"][key] / both["ccxt"][key], 2) for key in both["ccxt"]}
    return {
        "benchmark": "order-path",
        "machine": describe(),
        "orders": {"one_by_one": SEQUENTIAL, "concurrent": CONCURRENT, "in_flight": IN_FLIGHT},
        "rounds": ROUNDS,
        **both,
        "platform_to_ccxt": ratios,
    }


async def _one_by_one(place: Place, relay: Relay, count: int) -> dict[str, float]:
    sent, done = [], []
    for number in range(count):
        start = time.perf_counter()
        await place(number)
        done.append((time.perf_counter() - start) * 1000)
        sent.append((relay.last_s - start) * 1000)
    figures = {}
    for name, values in (("to_the_exchange_ms", sent), ("to_the_answer_ms", done)):
        figures[f"{name}_p50"] = round(median(values), 3)
        figures[f"{name}_p99"] = round(quantiles(values, n=100)[98], 3)
    return figures


async def _concurrently(place: Place, count: int) -> float:
    """Orders a second with IN_FLIGHT callers."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await place(number)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - start)


@asynccontextmanager
async def _ours(api: str, keys: Sequence[str]) -> AsyncIterator[Place]:
    body = json.dumps(
        {
            "exchangeId": "BINANCE",
            "symbol": "BTC-USDT",
            "side": "BUY",
            "orderType": "LIMIT",
            "quantity": "0.001",
            "price": "20000",
            "timeInForce": "IOC",
        }
    )
    intents = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def place(number: int) -> None:
            headers = {
                "Authorization": f"Bearer {keys[number % len(keys)]}",
                "Content-Type": "application/json",
                "Idempotency-Key": f"bench-{next(intents)}",
            }
            async with session.post(f"{api}/v1/orders", data=body, headers=headers) as answer:
                order = await answer.json()
                assert order.get("status") == "EXPIRED", order

        yield place


@asynccontextmanager
async def _ccxt(exchange: str, keys: Sequence[tuple[str, str]]) -> AsyncIterator[Place]:
    clients = [_client(exchange, tenant_id) for tenant_id, _ in keys]
    await clients[0].load_markets()
    for client in clients[1:]:
        client.set_markets(clients[0].markets, clients[0].currencies)

    async def place(number: int) -> None:
        client = clients[number % len(clients)]
        order = await client.create_order(
            "BTC/USDT", "limit", "buy", 0.001, 20_000, {"timeInForce": "IOC"}
        )
        assert order["status"] == "expired", order

    yield place
    await asyncio.gather(*(client.close() for client in clients))


def _client(exchange: str, tenant_id: str) -> Any:
    keys = simulated_keys(tenant_id)
    client = ccxt.async_support.binance(
        {
            "apiKey": keys.api_key,
            "secret": keys.api_secret,
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        }
    )
    for name, path in _PATHS.items():
        client.urls["api"][name] = exchange + path
    return client


async def _make_tenants(data: Path) -> list[tuple[str, str]]:
    """(tenant id, API key) of every tenant."""
    made = []
    async with open_tenants(data) as tenants:
        for number in range(TENANTS):
            tenant = await tenants.create_tenant(f"Bench {number}", Tier.ENTERPRISE)
            _, key = await tenants.create_api_key(tenant.tenant_id, name="bench")
            made.append((tenant.tenant_id, key))
    return made


@asynccontextmanager
async def _program(command: str, folder: Path, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """A command of the platform in a process of its own, and what it says when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "trading_platform", command, "--json", "--data", str(folder / command)),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
