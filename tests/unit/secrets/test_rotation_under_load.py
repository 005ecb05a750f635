"""A hundred rotations, each killed between two steps and begun again, under continuous reads in two
processes: nobody fails, and nobody gets a retired key once its retirement is known.
"""

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from tests.unit.secrets.parts import PATH, RememberingAudit, a_vault, credentials
from tests.unit.secrets.test_manager import Channel
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.payloads import Credentials
from trading_platform.secrets.stages import Stage

ROTATIONS = 100


class Killed(Exception):
    pass


class Exchange:
    """Takes the keys that were made and not yet retired."""

    def __init__(self) -> None:
        self.valid = {"key 0"}
        self.refused: list[str] = []
        self.signed = 0

    async def test(self, found: Credentials) -> None:
        await asyncio.sleep(0)
        assert found.api_key in self.valid

    def take(self, key: str) -> bool:
        self.signed += 1
        if key not in self.valid:
            self.refused.append(key)
        return key in self.valid


async def trade(manager: SecretsManager, exchange: Exchange, stop: asyncio.Event) -> None:
    """Sign all the time; a refused key is read anew once, as the platform does it."""
    while not stop.is_set():
        found = await manager.get_exchange_credentials("tenant-1", "BINANCE")
        if not exchange.take(found.api_key):
            manager.invalidate_cache(PATH)
            again = await manager.get_exchange_credentials("tenant-1", "BINANCE")
            assert exchange.take(again.api_key)
        await asyncio.sleep(0.002)


async def rotate(manager: SecretsManager, exchange: Exchange, number: int, kill_at: int) -> None:
    """All steps from the first, killed after step `kill_at`."""
    old, new = f"key {number - 1}", f"key {number}"
    exchange.valid.add(new)
    version = f"{number:032}"
    now = await manager.describe(PATH)
    if now.version_at(Stage.CURRENT) != version:
        await manager.put_exchange_credentials(
            "tenant-1",
            "BINANCE",
            msgspec.structs.replace(credentials(new), api_key=new),
            actor="owner",
            stage=Stage.PENDING,
            version_id=version,
        )
        if kill_at == 0:
            raise Killed
        await manager.rotate_secret(PATH, test=exchange.test)
    if kill_at == 1:
        raise Killed
    previous = (await manager.describe(PATH)).version_at(Stage.PREVIOUS)
    if previous is not None:
        await manager.retire(PATH, previous, actor="owner")
    if kill_at == 2:
        raise Killed
    await asyncio.sleep(0)  # the grace in which every process hears of it
    exchange.valid.discard(old)


async def test_a_hundred_killed_rotations_disturb_nobody(tmp_path: Path) -> None:
    draw = random.Random(20261122)
    async with a_vault(tmp_path) as (vault, _):
        channel, exchange, stop = Channel(), Exchange(), asyncio.Event()
        one, other = (
            SecretsManager(
                vault.store,
                RememberingAudit(),
                SystemClock(),
                environment="test",
                publish=channel.publish,
                subscribe=channel.subscribe,
            )
            for _ in range(2)
        )
        following = [asyncio.create_task(manager.run()) for manager in (one, other)]
        first = msgspec.structs.replace(credentials("key 0"), api_key="key 0")
        await one.put_exchange_credentials(
            "tenant-1", "BINANCE", first, actor="owner", version_id="0" * 32
        )
        traders = [
            asyncio.create_task(trade(manager, exchange, stop)) for manager in (one, other, other)
        ]
        kills = 0
        for number in range(1, ROTATIONS + 1):
            for kill_at in (draw.randrange(3), draw.randrange(3), 9):
                try:
                    await rotate(one, exchange, number, kill_at)
                except Killed:
                    kills += 1
        stop.set()
        await asyncio.gather(*traders)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        assert kills >= ROTATIONS
        assert exchange.signed > ROTATIONS
        found = await other.get_exchange_credentials("tenant-1", "BINANCE")
        assert found.api_key == f"key {ROTATIONS}"
        # A refused key was read anew at once (asserted in `trade`); announced, that is rare.
        assert len(exchange.refused) <= ROTATIONS // 10


async def test_a_shredded_key_is_gone_for_every_process(tmp_path: Path) -> None:
    async with a_vault(tmp_path) as (vault, _):
        channel = Channel()
        managers = [
            SecretsManager(
                vault.store,
                RememberingAudit(),
                SystemClock(),
                environment="test",
                publish=channel.publish,
                subscribe=channel.subscribe,
            )
            for _ in range(2)
        ]
        following = [asyncio.create_task(manager.run()) for manager in managers]
        await managers[0].put_exchange_credentials(
            "tenant-1", "BINANCE", credentials(), actor="owner"
        )
        for manager in managers:
            await manager.get_exchange_credentials("tenant-1", "BINANCE")
        await managers[0].shred(PATH, actor="owner")
        await asyncio.sleep(0.01)
        for manager in managers:
            with pytest.raises(ServiceError) as caught:
                await manager.get_exchange_credentials("tenant-1", "BINANCE")
            assert caught.value.code == "NOT_FOUND"
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
