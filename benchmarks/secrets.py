"""What custody costs: a read from the cache, a cold read from the vault (with its audit entry), a
change, and what AES-GCM itself takes of it.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.machine import describe
from trading_platform.kit.clock import SystemClock
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.opening import open_local_vault
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants.audit import AuditLog

ROUNDS = 21
CACHED_READS = 20_000
COLD_READS = 50
PAYLOAD_BYTES = 200


def run() -> dict[str, Any]:
    """Medians of ROUNDS, in microseconds; `cached_limit_us` is what a cached read may take."""
    return {"machine": describe(), **asyncio.run(_measure()), "cached_limit_us": 5.0}


async def _measure() -> dict[str, float]:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        records = await SqliteRecords.open(Path(folder) / "records.sqlite")
        vault = await open_local_vault(records, Path(folder), clock)
        audit = AuditLog(records, clock)
        manager = SecretsManager(vault.store, audit, clock, environment="benchmark")
        await _put(manager)
        path = manager.secret_id("tenant-1", "BINANCE")

        async def cached() -> None:
            await manager.get_exchange_credentials("tenant-1", "BINANCE")

        async def cold() -> None:
            manager.invalidate_cache(path)
            await manager.get_exchange_credentials("tenant-1", "BINANCE")

        async def change() -> None:
            await _put(manager)

        result = {
            "cached_read_us": await _each_us(cached, CACHED_READS),
            "cold_read_us": await _each_us(cold, COLD_READS),
            "vault_read_us": await _each_us(lambda: vault.store.get(path), COLD_READS),
            "change_us": await _each_us(change, 10),
            "aes_gcm_open_us": _aes_us(),
        }
        vault.close()
        await records.close()
    return result


async def _put(manager: SecretsManager) -> None:
    credentials = ExchangeCredentials(
        api_key="key", api_secret=Secret("x" * PAYLOAD_BYTES), permissions=frozenset({"read"})
    )
    await manager.put_exchange_credentials("tenant-1", "BINANCE", credentials, actor="benchmark")


async def _each_us(work: Callable[[], Awaitable[object]], count: int) -> float:
    rounds = []
    await work()
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for _ in range(count):
            await work()
        rounds.append((time.perf_counter_ns() - started) / count / 1000)
    return round(median(rounds), 3)


def _aes_us() -> float:
    key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, b"x" * PAYLOAD_BYTES, b"context")
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for _ in range(1000):
            AESGCM(key).decrypt(nonce, sealed, b"context")
        rounds.append((time.perf_counter_ns() - started) / 1000 / 1000)
    return round(median(rounds), 3)
