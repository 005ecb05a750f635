"""What every store of secrets promises (secrets/store.py): the vault under a local master key, the
vault under KMS, and Secrets Manager.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.contracts.moto_server import MotoServer, interpreter
from trading_platform.kit.clock import ManualClock, SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.anchor import MemoryAnchor
from trading_platform.secrets.kms import KmsKeys
from trading_platform.secrets.local_key import LocalMasterKey
from trading_platform.secrets.model import Secret
from trading_platform.secrets.paths import ai_provider_path, exchange_path
from trading_platform.secrets.secrets_manager_store import SecretsManagerStore
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import PAYLOAD_BYTES_MAX, SecretStore
from trading_platform.secrets.vault import VaultStore
from trading_platform.storage.sqlite import SqliteRecords

pytestmark = pytest.mark.asyncio(loop_scope="session")

MISSING = (
    "the emulator of KMS and Secrets Manager is not installed: make an environment .venv-aws with"
    " requirements/emulator.txt, or set EMULATOR_PYTHON to a Python that has moto[server]"
)
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """A running emulator; skipped when absent, except in CI, where that is a failure."""
    python = interpreter()
    if python is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    started = MotoServer(python, tmp_path_factory.mktemp("moto"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "emulator")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "emulator")
        patch.delenv("AWS_PROFILE", raising=False)
        yield started
    started.stop()


async def kms_key(url: str) -> str:
    """A fresh KMS key's ARN."""
    from aiobotocore.session import get_session

    async with get_session().create_client("kms", region_name=REGION, endpoint_url=url) as client:
        return str((await client.create_key())["KeyMetadata"]["Arn"])


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=["vault", "vault-kms", "secrets-manager"]
)
async def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecretStore]:
    """Each implementation in turn."""
    folder, clock = tmp_path_factory.mktemp("secrets"), ManualClock()
    if request.param == "secrets-manager":
        url = request.getfixturevalue("moto").url
        aws = await SecretsManagerStore.open(region=REGION, clock=SystemClock(), endpoint_url=url)
        yield aws
        await aws.close()
        return
    records = await SqliteRecords.open(folder / "records.db", clock=clock)
    if request.param == "vault":
        master_key = await LocalMasterKey.open(folder / "keys")
        yield VaultStore(records, master_key, clock, MemoryAnchor())
    else:
        url = request.getfixturevalue("moto").url
        key_id = await kms_key(url)
        keys = await KmsKeys.open(
            key_id=key_id, region=REGION, clock=SystemClock(), endpoint_url=url
        )
        yield VaultStore(records, keys, clock, MemoryAnchor())
        await keys.close()
    await records.close()


_tenants = count(1)


@pytest.fixture
def path() -> str:
    """A path that no other test uses."""
    return exchange_path("test", "BINANCE", f"tenant-{next(_tenants)}")


def version() -> str:
    return str(uuid4())


async def put(
    store: SecretStore, path: str, text: str, stage: Stage = Stage.CURRENT, at: str | None = None
) -> str:
    version_id = at or version()
    await store.put(path, version_id, Secret(text), stage=stage)
    return version_id


async def text(store: SecretStore, path: str, stage: Stage = Stage.CURRENT) -> str:
    return (await store.get(path, stage=stage)).payload.open()


async def labels(store: SecretStore, path: str) -> dict[Stage, str]:
    described = await store.describe(path)
    return {stage: one.version_id for one in described.versions for stage in one.stages}


async def refused(work: object) -> str:
    with pytest.raises(ServiceError) as caught:
        await work  # type: ignore[misc]  # any coroutine
    return caught.value.code


async def test_what_was_put_is_released_as_it_was(store: SecretStore, path: str) -> None:
    version_id = await put(store, path, '{"apiKey":"k","apiSecret":"żółć \U0001f600"}')
    stored = await store.get(path)
    assert stored.payload.open() == '{"apiKey":"k","apiSecret":"żółć \U0001f600"}'
    assert (stored.version_id, stored.stage) == (version_id, Stage.CURRENT)
    assert stored.created_at.tzinfo is not None
    assert (await store.get(path, version_id=version_id)).payload == stored.payload


async def test_nothing_is_found_where_nothing_was_put(store: SecretStore, path: str) -> None:
    assert await refused(store.get(path)) == "NOT_FOUND"
    assert await refused(store.describe(path)) == "NOT_FOUND"
    assert await refused(store.promote(path, version())) == "NOT_FOUND"
    await put(store, path, "here")
    assert await refused(store.get(path, stage=Stage.PENDING)) == "NOT_FOUND"
    assert await refused(store.get(path, version_id=version())) == "NOT_FOUND"
    assert await refused(store.promote(path, version())) == "NOT_FOUND"


async def test_a_second_current_version_makes_the_first_the_previous_one(
    store: SecretStore, path: str
) -> None:
    first = await put(store, path, "first")
    second = await put(store, path, "second")
    assert await labels(store, path) == {Stage.CURRENT: second, Stage.PREVIOUS: first}
    assert await text(store, path) == "second"
    assert await text(store, path, Stage.PREVIOUS) == "first"


async def test_a_staged_version_waits_until_it_is_promoted(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    second = await put(store, path, "second", Stage.PENDING)
    assert (await text(store, path), await text(store, path, Stage.PENDING)) == ("first", "second")
    await store.promote(path, second)
    assert await text(store, path) == "second"
    assert await labels(store, path) == {Stage.CURRENT: second, Stage.PREVIOUS: first}


async def test_a_first_version_is_current_or_nothing(store: SecretStore, path: str) -> None:
    assert await refused(put(store, path, "first", Stage.PENDING)) == "CONFLICT"
    assert await refused(store.describe(path)) == "NOT_FOUND"


async def test_every_step_may_be_repeated(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    await put(store, path, "first", at=first)
    second = await put(store, path, "second", Stage.PENDING)
    await put(store, path, "second", Stage.PENDING, at=second)
    for _ in range(2):
        await store.promote(path, second)
    for _ in range(2):
        await store.retire(path, first)
    assert await labels(store, path) == {Stage.CURRENT: second}
    for _ in range(2):
        await store.shred(path)
    assert await refused(store.get(path)) == "NOT_FOUND"


async def test_a_version_id_never_holds_two_things(store: SecretStore, path: str) -> None:
    version_id = await put(store, path, "first")
    assert await refused(put(store, path, "other", at=version_id)) == "CONFLICT"
    assert await text(store, path) == "first"


async def test_a_newer_pending_version_replaces_the_older_one(
    store: SecretStore, path: str
) -> None:
    first = await put(store, path, "first")
    gone = await put(store, path, "never used", Stage.PENDING)
    third = await put(store, path, "third", Stage.PENDING)
    assert await labels(store, path) == {Stage.CURRENT: first, Stage.PENDING: third}
    assert await refused(store.get(path, version_id=gone)) == "NOT_FOUND"


async def test_the_previous_version_can_be_switched_back_to(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    second = await put(store, path, "second")
    await store.promote(path, first)
    assert await labels(store, path) == {Stage.CURRENT: first, Stage.PREVIOUS: second}
    assert await text(store, path) == "first"


async def test_a_retired_version_is_not_released_again(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    second = await put(store, path, "second")
    await store.retire(path, first)
    assert await refused(store.get(path, stage=Stage.PREVIOUS)) == "NOT_FOUND"
    assert await refused(store.get(path, version_id=first)) == "NOT_FOUND"
    assert await labels(store, path) == {Stage.CURRENT: second}


async def test_the_current_version_is_not_retired(store: SecretStore, path: str) -> None:
    version_id = await put(store, path, "first")
    assert await refused(store.retire(path, version_id)) == "CONFLICT"
    assert await text(store, path) == "first"


async def test_a_pending_version_can_be_given_up(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    second = await put(store, path, "second", Stage.PENDING)
    await store.retire(path, second)
    assert await labels(store, path) == {Stage.CURRENT: first}
    assert await refused(store.get(path, stage=Stage.PENDING)) == "NOT_FOUND"


async def test_a_value_staged_for_a_rotation_waits_beside_a_pending_one(
    store: SecretStore, path: str
) -> None:
    first = await put(store, path, "first")
    staged = await put(store, path, "second", Stage.STAGED)
    pending = await put(store, path, "second", Stage.PENDING)
    assert await labels(store, path) == {
        Stage.CURRENT: first,
        Stage.STAGED: staged,
        Stage.PENDING: pending,
    }
    await store.promote(path, pending)
    await store.retire(path, staged)
    assert await labels(store, path) == {Stage.CURRENT: pending, Stage.PREVIOUS: first}


async def test_a_shredded_path_can_be_used_again(store: SecretStore, path: str) -> None:
    first = await put(store, path, "first")
    await put(store, path, "second")
    await store.shred(path)
    assert await refused(store.get(path, version_id=first)) == "NOT_FOUND"
    await put(store, path, "third")
    assert await text(store, path) == "third"


async def test_a_tenant_never_gets_what_is_anothers(store: SecretStore, path: str) -> None:
    other = f"{path}0"  # a path of which ours is the beginning
    await put(store, path, "ours")
    await put(store, other, "theirs")
    assert (await text(store, path), await text(store, other)) == ("ours", "theirs")
    await store.shred(path)
    assert await text(store, other) == "theirs"
    assert await refused(store.get(path)) == "NOT_FOUND"


async def test_paths_are_listed_by_their_beginning(store: SecretStore) -> None:
    mine = [exchange_path("listing", name, "tenant-1") for name in ("BINANCE", "COINBASE")]
    mine.append(ai_provider_path("listing", "openai"))
    for each in mine:
        await put(store, each, "x")
    await put(store, exchange_path("listings", "BINANCE", "tenant-1"), "x")
    assert await store.list_paths("/trading-platform/listing/") == sorted(mine)
    assert await store.list_paths("/trading-platform/listing/exchanges/") == sorted(mine[:2])
    assert await store.list_paths("/trading-platform/nowhere/") == []
    assert set(mine) <= set(await store.list_paths(""))


async def test_what_no_store_takes_is_refused_by_all(store: SecretStore, path: str) -> None:
    assert await refused(put(store, path, "x" * (PAYLOAD_BYTES_MAX + 1))) == "REQUEST_TOO_LARGE"
    assert await refused(put(store, path, "")) == "INVALID_REQUEST"
    assert await refused(put(store, path, "x", at="short")) == "INVALID_REQUEST"
    for wrong in ("", "/", "/other/test/exchanges/binance/t", f"{path}/more", path.upper()):
        assert await refused(put(store, wrong, "x")) == "INVALID_REQUEST"
        assert await refused(store.get(wrong)) == "INVALID_REQUEST"
    await put(store, path, "x" * PAYLOAD_BYTES_MAX)
    assert len(await text(store, path)) == PAYLOAD_BYTES_MAX


async def test_writers_at_the_same_time_leave_one_current_version(
    store: SecretStore, path: str
) -> None:
    written = await asyncio.gather(
        *(put(store, path, f"text {number}") for number in range(4)), return_exceptions=True
    )
    won = [each for each in written if isinstance(each, str)]
    assert won
    described = await store.describe(path)
    current = [one for one in described.versions if Stage.CURRENT in one.stages]
    assert len(current) == 1
    assert current[0].version_id in won
    assert await text(store, path) == f"text {written.index(current[0].version_id)}"
