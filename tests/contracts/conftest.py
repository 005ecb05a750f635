"""Implementations of the ports, each the real thing."""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count

import pytest
import pytest_asyncio

from tests.contracts.emulator import Emulator, interpreter
from trading_platform.kit.clock import ManualClock
from trading_platform.storage.dynamodb import DynamoDBRecords
from trading_platform.storage.records import Records
from trading_platform.storage.sqlite import SqliteRecords

START = datetime(2100, 1, 1, tzinfo=UTC)
"""Far ahead of the wall clock, so that the emulator's own expiry never removes what we look at."""

MISSING = (
    "the DynamoDB emulator is not installed: make an environment .venv-aws with"
    " requirements/emulator.txt, or set EMULATOR_PYTHON to a Python that has ministack"
)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A running emulator; skipped when absent, except in CI, where that is a failure."""
    python = interpreter()
    if python is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    started = Emulator(python, tmp_path_factory.mktemp("emulator"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "emulator")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "emulator")
        patch.delenv("AWS_PROFILE", raising=False)
        yield started
    started.stop()


@pytest.fixture(scope="session")
def clock() -> ManualClock:
    """The clock all stores of the session share."""
    return ManualClock(START)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["sqlite", "dynamodb"])
async def records(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    clock: ManualClock,
) -> AsyncIterator[Records]:
    """Each implementation of the Records port, in turn."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("records") / "records.db"
        store: Records = await SqliteRecords.open(path, clock=clock)
    else:
        store = await open_dynamodb(request.getfixturevalue("emulator").url, clock)
    yield store
    await store.close()


async def open_dynamodb(url: str, clock: ManualClock, prefix: str = "test-") -> DynamoDBRecords:
    """Records on the emulator, with tables."""
    store = await DynamoDBRecords.open(
        region="eu-central-1", endpoint_url=url, table_prefix=prefix, clock=clock
    )
    await store.ensure_tables()
    return store


_partitions = count(1)


@pytest.fixture
def partition() -> str:
    """A partition that no other test uses: the stores live for the whole session."""
    return f"tenant-{next(_partitions)}"
