"""The secrets service: one read whoever asks, nothing without the audit log, nothing stale."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.secrets.parts import PATH, V1, V2, RememberingAudit, a_vault, credentials
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.flights import Flights
from trading_platform.secrets.manager import CHANNEL, SecretsManager
from trading_platform.secrets.model import (
    AIProviderCredentials,
    DataSourceCredentials,
    ExchangeCredentials,
    Secret,
)
from trading_platform.secrets.paths import ai_provider_path, data_source_path
from trading_platform.secrets.payloads import Credentials
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretDescription, SecretStore, StoredSecret


class CountingStore:
    """A real store whose reads are counted, and held until `gate` opens."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self.reads = 0
        self.gate, self.held = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.fail: ServiceError | None = None

    async def put(self, path: str, version_id: str, payload: Secret, *, stage: Stage) -> None:
        await self._store.put(path, version_id, payload, stage=stage)

    async def get(
        self, path: str, *, stage: Stage = Stage.CURRENT, version_id: str | None = None
    ) -> StoredSecret:
        self.reads += 1
        found = await self._store.get(path, stage=stage, version_id=version_id)
        self.held.set()
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        return found

    async def promote(self, path: str, version_id: str) -> None:
        await self._store.promote(path, version_id)

    async def retire(self, path: str, version_id: str) -> None:
        await self._store.retire(path, version_id)

    async def shred(self, path: str) -> None:
        await self._store.shred(path)

    async def describe(self, path: str) -> SecretDescription:
        return await self._store.describe(path)

    async def list_paths(self, prefix: str) -> list[str]:
        return await self._store.list_paths(prefix)


class Channel:
    """What one process says, all others hear."""

    def __init__(self) -> None:
        self._ears: list[asyncio.Queue[bytes | None]] = []
        self.down = False

    async def publish(self, channel: str, payload: bytes) -> None:
        assert channel == CHANNEL
        if self.down:
            raise ServiceError("nobody listens", "PROVIDER_UNAVAILABLE")
        for ear in self._ears:
            ear.put_nowait(payload)

    async def subscribe(self, channel: str) -> AsyncIterator[bytes | None]:
        ear: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ears.append(ear)
        yield None
        while True:
            yield await ear.get()

    def said(self) -> int:
        return sum(ear.qsize() for ear in self._ears)


class Parts:
    def __init__(self, store: SecretStore) -> None:
        self.store = CountingStore(store)
        self.audit = RememberingAudit()
        self.clock = ManualClock()
        self.channel = Channel()
        self.manager = self.another()

    def another(self) -> SecretsManager:
        return SecretsManager(
            self.store,
            self.audit,
            self.clock,
            environment="test",
            publish=self.channel.publish,
            subscribe=self.channel.subscribe,
        )

    async def secret(self, manager: SecretsManager | None = None) -> str:
        found = await (manager or self.manager).get_exchange_credentials("tenant-1", "BINANCE")
        return found.api_secret.open()

    async def put(self, secret: str, stage: Stage = Stage.CURRENT, version: str = V1) -> None:
        await self.manager.put_exchange_credentials(
            "tenant-1", "BINANCE", credentials(secret), actor="me", stage=stage, version_id=version
        )


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with a_vault(tmp_path) as (vault, _):
        yield Parts(vault.store)


async def test_credentials_come_back_as_they_were_put(parts: Parts) -> None:
    put = ExchangeCredentials(
        api_key="key-1",
        api_secret=Secret("żółć"),
        passphrase=Secret("pass"),
        sub_account_id="sub",
        permissions=frozenset({"read", "trade"}),
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        rotated_at=datetime(2026, 2, 2, tzinfo=UTC),
    )
    await parts.manager.put_exchange_credentials("tenant-1", "BINANCE", put, actor="me")
    assert await parts.manager.get_exchange_credentials("tenant-1", "BINANCE") == put
    stored = (await parts.store.get(PATH)).payload.open()
    assert '"apiKey":"key-1"' in stored
    assert '"subAccountId":"sub"' in stored


async def test_keys_of_providers_and_sources_have_paths_and_types_of_their_own(
    parts: Parts,
) -> None:
    ai = AIProviderCredentials(api_key=Secret("sk-1"), project_id="p", rate_limit_tier="tier-2")
    source = DataSourceCredentials(api_key=Secret("gn-1"), endpoint="https://api.example.com")
    ai_path, source_path = ai_provider_path("test", "OpenAI"), data_source_path("test", "glassnode")
    await parts.manager.put(ai_path, ai, actor="operator")
    await parts.manager.put(source_path, source, actor="operator")
    assert await parts.manager.get_ai_provider_credentials("openai") == ai
    assert await parts.manager.get_data_source_credentials("Glassnode") == source
    assert ("platform", "SECRET_READ", ai_path) in parts.audit.entries
    with pytest.raises(ServiceError, match="nothing else"):
        await parts.manager.put(ai_path, source, actor="operator")


async def test_a_cold_read_asks_the_store_once_whoever_waits(parts: Parts) -> None:
    await parts.put("text")
    parts.store.gate.clear()
    waiting = [asyncio.create_task(parts.secret()) for _ in range(200)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()  # one that gives up takes nothing from the others
    parts.store.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[1:] == ["text"] * 199
    assert isinstance(answers[0], asyncio.CancelledError)
    assert parts.store.reads == 1
    assert [entry for entry in parts.audit.entries if entry[1] == "SECRET_READ"] == [
        ("tenant-1", "SECRET_READ", PATH)
    ]


async def test_a_cached_secret_is_read_anew_after_five_minutes(parts: Parts) -> None:
    await parts.put("text")
    for _ in range(3):
        assert await parts.secret() == "text"
    parts.clock.advance(299)
    await parts.secret()
    assert parts.store.reads == 1
    parts.clock.advance(1)
    await parts.secret()
    assert parts.store.reads == 2


async def test_without_an_audit_log_no_secret_is_released_and_none_is_stored(parts: Parts) -> None:
    await parts.put("text")
    parts.audit.broken = True
    with pytest.raises(ServiceError, match="audit log"):
        await parts.secret()
    assert parts.store.reads == 0
    with pytest.raises(ServiceError, match="audit log"):
        await parts.put("other", version=V2)
    parts.audit.broken = False
    assert await parts.secret() == "text"
    parts.audit.broken = True
    assert await parts.secret() == "text"  # released before: still in memory


async def test_shredding_goes_on_without_an_audit_log_and_says_so(parts: Parts) -> None:
    await parts.put("text")
    assert await parts.secret() == "text"
    parts.audit.broken = True
    with pytest.raises(ServiceError, match="not written down") as caught:
        await parts.manager.shred(PATH, actor="me")
    assert caught.value.metadata["done"] is True
    parts.audit.broken = False
    with pytest.raises(ServiceError) as gone:
        await parts.secret()
    assert gone.value.code == "NOT_FOUND"


async def test_a_failed_read_is_remembered_by_nobody(parts: Parts) -> None:
    await parts.put("text")
    parts.store.fail = ServiceError("KMS is slow", "PROVIDER_UNAVAILABLE")
    answers = await asyncio.gather(*(parts.secret() for _ in range(5)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"KMS is slow"}
    assert parts.store.reads == 1
    parts.store.fail = None
    assert await parts.secret() == "text"


async def test_a_read_that_began_before_a_change_is_not_remembered(parts: Parts) -> None:
    await parts.put("old")
    parts.store.gate.clear()
    early = asyncio.create_task(parts.secret())
    await parts.store.held.wait()
    await parts.put("new", version=V2)
    late = asyncio.create_task(parts.secret())
    await asyncio.sleep(0.05)
    parts.store.gate.set()
    assert (await early, await late) == ("old", "new")
    assert await parts.secret() == "new"


async def test_a_change_reaches_every_process(parts: Parts) -> None:
    other = parts.another()
    following = asyncio.create_task(other.run())
    await parts.put("old")
    await asyncio.sleep(0.01)
    assert await parts.secret(other) == "old"
    await parts.put("new", version=V2)
    await asyncio.sleep(0.01)
    assert await parts.secret(other) == "new"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_whoever_was_deaf_for_a_while_forgets_everything(parts: Parts) -> None:
    other = parts.another()
    await parts.put("old")
    assert await parts.secret(other) == "old"
    await parts.put("new", version=V2)  # not heard
    assert await parts.secret(other) == "old"
    following = asyncio.create_task(other.run())
    await asyncio.sleep(0.01)
    assert await parts.secret(other) == "new"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_change_that_cannot_be_announced_still_holds_here(parts: Parts) -> None:
    await parts.put("old")
    await parts.secret()
    parts.channel.down = True
    await parts.put("new", version=V2)
    assert await parts.secret() == "new"


async def test_rotation_tests_what_is_staged_and_then_switches(parts: Parts) -> None:
    await parts.put("old")
    tested: list[str] = []

    async def test(found: Credentials) -> None:
        assert isinstance(found, ExchangeCredentials)
        tested.append(found.api_secret.open())

    with pytest.raises(ServiceError, match="stage the new one"):
        await parts.manager.rotate_secret(PATH, test=test)
    await parts.put("new", Stage.PENDING, V2)
    assert await parts.secret() == "old"
    assert await parts.manager.rotate_secret(PATH, test=test) == V2
    assert (await parts.secret(), tested) == ("new", ["new"])
    before = await parts.manager.get_exchange_credentials(
        "tenant-1", "BINANCE", stage=Stage.PREVIOUS
    )
    assert before.api_secret.open() == "old"
    await parts.manager.retire(PATH, V1, actor="me")
    with pytest.raises(ServiceError):
        await parts.manager.get_exchange_credentials("tenant-1", "BINANCE", stage=Stage.PREVIOUS)


async def test_a_staged_key_that_fails_its_test_changes_nothing(parts: Parts) -> None:
    await parts.put("old")
    await parts.put("new", Stage.PENDING, V2)

    async def test(found: Credentials) -> None:
        raise ServiceError("it may withdraw", "NOT_PERMITTED")

    with pytest.raises(ServiceError, match="withdraw"):
        await parts.manager.rotate_secret(PATH, test=test)
    assert await parts.secret() == "old"


async def test_nothing_that_is_no_credential_is_released(parts: Parts) -> None:
    for version, text in ((V1, '{"apiKey":"k"}'), (V2, "[1]"), ("3" * 32, '{"apiKey":5')):
        await parts.store.put(PATH, version, Secret(text), stage=Stage.CURRENT)
        with pytest.raises(ServiceError) as caught:
            await parts.secret()
        assert caught.value.code == "UNUSABLE_DATA"
        assert text not in caught.value.message


async def test_tenant_ids_that_climb_out_of_their_folder_are_refused(parts: Parts) -> None:
    for tenant_id in ("../tenant-2", "a/b", "", "x" * 200, "a b"):
        with pytest.raises(ServiceError) as caught:
            await parts.manager.get_exchange_credentials(tenant_id, "BINANCE")
        assert caught.value.code == "INVALID_REQUEST"


async def test_the_cache_is_bounded_and_drops_what_was_not_read_longest() -> None:
    flights: Flights[int] = Flights(ManualClock(), ttl_s=300, entries_max=3)

    async def read() -> int:
        return 1

    for key in ("a", "b", "c"):
        await flights.read(key, read)
    assert flights.known("a") == 1
    await flights.read("d", read)
    assert [flights.known(key) for key in "abcd"] == [1, None, 1, 1]
