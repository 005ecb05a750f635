"""The Lambda entry points as AWS would call them: Secrets Manager over the wire, the simulated
Binance asked for the key's rights, a real Valkey told of the change.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.contracts.moto_server import MotoServer
from tests.contracts.test_secret_stores import REGION
from tests.contracts.test_secret_stores import moto as moto
from trading_platform.aws import handlers
from trading_platform.cache.service import CacheService
from trading_platform.cache.valkey import start_embedded
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.manager import CHANNEL
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.paths import ai_provider_path, exchange_path
from trading_platform.secrets.payloads import to_payload
from trading_platform.secrets.secrets_manager_store import SecretsManagerStore
from trading_platform.secrets.stages import Stage
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.simulation.service import open_simulation

PATH = exchange_path("test", "BINANCE", "tenant-lambda")
ARN = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{PATH}-AbC123"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


class Log:
    def info(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...

    def error(self, event: str, **fields: Any) -> None: ...


class Desk(NamedTuple):
    store: SecretsManagerStore

    async def stage(self, path: str, credentials: ExchangeCredentials, stage: Stage) -> None:
        await self.store.put(path, str(uuid4()), to_payload(credentials), stage=stage)

    async def rotate(self, secret_id: str, token: str) -> None:
        for step in STEPS:
            event = {"Step": step, "SecretId": secret_id, "ClientRequestToken": token}
            await asyncio.to_thread(handlers.rotate, event)


@pytest.fixture
async def desk(
    moto: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    async with open_simulation(tmp_path / "simulation", Log()) as simulation:
        urls = ",".join(f"{exchange_id}={url}" for exchange_id, url in simulation.urls.items())
        monkeypatch.setenv("TRADING_PLATFORM_EXCHANGES", urls)
        monkeypatch.setenv("AWS_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto.url)
        store = await SecretsManagerStore.open(
            region=REGION, clock=SystemClock(), endpoint_url=moto.url
        )
        yield Desk(store)
        await store.close()


def a_key(name: str, secret: str | None = None) -> ExchangeCredentials:
    keys = simulated_keys(name)
    return ExchangeCredentials(api_key=keys.api_key, api_secret=Secret(secret or keys.api_secret))


async def test_a_fit_key_becomes_current_and_a_wrong_one_does_not(desk: Desk) -> None:
    await desk.stage(PATH, a_key("old"), Stage.CURRENT)
    await desk.stage(PATH, a_key("new"), Stage.STAGED)
    token = str(uuid4())
    await desk.rotate(ARN, token)
    assert (await desk.store.get(PATH)).version_id == token
    await desk.stage(PATH, a_key("newer", secret="not its secret"), Stage.STAGED)
    with pytest.raises(ServiceError) as caught:
        await desk.rotate(PATH, str(uuid4()))
    assert caught.value.code == "CREDENTIAL_REFUSED"
    assert (await desk.store.get(PATH)).version_id == token


async def test_what_nobody_can_test_is_not_switched(desk: Desk) -> None:
    path = ai_provider_path("test", "openai-lambda")
    payload = Secret('{"apiKey":"sk-1","rateLimitTier":"1"}')
    await desk.store.put(path, "1" * 32, payload, stage=Stage.CURRENT)
    await desk.store.put(path, "2" * 32, payload, stage=Stage.STAGED)
    with pytest.raises(ServiceError, match="switch it by hand"):
        await desk.rotate(path, str(uuid4()))
    assert (await desk.store.get(path)).version_id == "1" * 32


async def test_an_event_reaches_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_embedded(tmp_path / "valkey")
    cache = CacheService(server.url)
    monkeypatch.setenv("TRADING_PLATFORM_VALKEY_URL", server.url)
    heard = cache.subscribe(CHANNEL)
    assert await anext(heard) is None
    event = {"detail": {"eventName": "PutSecretValue", "requestParameters": {"secretId": ARN}}}
    assert await asyncio.to_thread(handlers.secret_changed, event) == PATH
    assert await asyncio.wait_for(anext(heard), 5) == PATH.encode()
    assert await asyncio.to_thread(handlers.secret_changed, {"detail": {}}) is None
    await cache.close()
    await server.close()
