"""DynamoDB over a network that loses answers: nobody is told of a conflict that was not one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import NamedTuple

import pytest
import pytest_asyncio

from tests.contracts.conftest import START, open_dynamodb
from tests.contracts.emulator import Emulator
from tests.contracts.lossy_proxy import LossyProxy, lossy_proxy
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.dynamodb import DynamoDBRecords
from trading_platform.storage.dynamodb_calls import TRIES_MAX
from trading_platform.storage.records import ABSENT, Delete, Key, Put, Record
from trading_platform.storage.tables import ORDERS, TENANTS

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRITE = b"UpdateItem"
TRANSACTION = b"TransactWriteItems"


class Pair(NamedTuple):
    """One store behind a network that can fail, and one that sees what really happened."""

    records: DynamoDBRecords
    proxy: LossyProxy
    truth: DynamoDBRecords


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(emulator: Emulator) -> AsyncIterator[Pair]:
    clock = ManualClock(START)
    async with lossy_proxy(emulator.port) as proxy:
        truth = await open_dynamodb(emulator.url, clock, "lossy-")
        records = await open_dynamodb(proxy.url, clock, "lossy-")
        yield Pair(records, proxy, truth)
        await records.close()
        await truth.close()


@pytest.fixture
def row(partition: str) -> Record:
    return Record(key=Key(partition, "row"), data={"by": "us"})


def lose(pair: Pair, only: bytes, count: int = 1) -> None:
    pair.proxy.only, pair.proxy.lose, pair.proxy.lost = only, count, 0


async def refusal(work: Awaitable[object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await work
    return caught.value


async def test_a_put_whose_answer_was_lost_is_not_a_conflict(pair: Pair, row: Record) -> None:
    lose(pair, WRITE, 2)
    stored = await pair.records.put(ORDERS, row, expect=ABSENT)
    assert (pair.proxy.lost, stored.version) == (2, 1)
    lose(pair, WRITE)
    stored = await pair.records.put(ORDERS, row, expect=1)
    assert (pair.proxy.lost, stored.version) == (1, 2)
    assert await pair.truth.get(ORDERS, row.key) == stored


async def test_a_real_conflict_found_after_a_lost_answer_stays_one(pair: Pair, row: Record) -> None:
    await pair.truth.put(ORDERS, row, expect=ABSENT)
    lose(pair, WRITE)  # what is lost is the refusal
    error = await refusal(pair.records.put(ORDERS, row, expect=ABSENT))
    assert (pair.proxy.lost, error.code, error.metadata["found"]) == (1, "CONFLICT", 1)


@pytest.mark.parametrize("meanwhile", ["overwritten", "removed"])
async def test_a_write_that_won_and_was_undone_before_the_retry_is_not_called_a_conflict(
    pair: Pair, row: Record, meanwhile: str
) -> None:
    await pair.truth.put(ORDERS, row, expect=ABSENT)

    async def undo() -> None:
        if meanwhile == "removed":
            await pair.truth.delete(ORDERS, row.key, expect=2)
        else:
            await pair.truth.put(ORDERS, row, expect=2)

    lose(pair, WRITE)
    pair.proxy.after_loss = undo
    error = await refusal(pair.records.put(ORDERS, row, expect=1))
    pair.proxy.after_loss = None
    assert (error.code, error.metadata) == ("STORAGE_UNAVAILABLE", {"maybeWritten": True})


async def test_a_transaction_whose_answer_was_lost_is_done_once(pair: Pair, row: Record) -> None:
    counter = Record(key=row.key, data={})
    lose(pair, TRANSACTION)
    await pair.records.transact(
        [
            Put(table=ORDERS, record=row, expect=ABSENT),
            Put(table=TENANTS, record=counter, expect=None),
        ]
    )
    counted = await pair.truth.get(TENANTS, row.key)
    assert counted is not None
    assert (pair.proxy.lost, counted.version) == (1, 1)


async def test_a_delete_whose_answer_was_lost_is_not_a_conflict(pair: Pair, row: Record) -> None:
    await pair.truth.put(ORDERS, row, expect=ABSENT)
    lose(pair, TRANSACTION)
    await pair.records.delete(ORDERS, row.key, expect=1)
    assert pair.proxy.lost == 1
    assert await pair.truth.get(ORDERS, row.key) is None


async def test_of_writers_racing_over_a_lossy_network_exactly_one_wins(
    pair: Pair, row: Record
) -> None:
    async def write(number: int) -> bool:
        mine = Record(key=row.key, data={"by": number})
        try:
            if number % 2:
                await pair.records.transact([Put(table=ORDERS, record=mine, expect=ABSENT)])
            else:
                await pair.records.put(ORDERS, mine, expect=ABSENT)
        except ServiceError as error:
            if error.code != "CONFLICT":
                raise
            return False
        return True

    lose(pair, b"Condition", 10)
    won = await asyncio.gather(*(write(number) for number in range(20)))
    found = await pair.truth.get(ORDERS, row.key)
    assert found is not None
    assert (sum(won), won.index(True), found.version) == (1, found.data["by"], 1)
    assert pair.proxy.lost == 10


async def test_a_write_that_is_never_answered_says_that_it_may_have_happened(
    pair: Pair, row: Record
) -> None:
    lose(pair, WRITE, TRIES_MAX)
    error = await refusal(pair.records.put(ORDERS, row, expect=None))
    assert pair.proxy.lost == TRIES_MAX
    assert (error.code, error.metadata) == ("STORAGE_UNAVAILABLE", {"maybeWritten": True})


async def test_reads_without_a_network_are_refused_and_work_again_later(
    pair: Pair, row: Record
) -> None:
    await pair.truth.put(ORDERS, row, expect=ABSENT)
    pair.proxy.refuse = True
    for work in (
        pair.records.get(ORDERS, row.key),
        pair.records.query(ORDERS, row.key.partition),
    ):
        error = await refusal(work)
        assert (error.code, error.metadata) == ("STORAGE_UNAVAILABLE", {})
    pair.proxy.refuse = False
    assert await pair.records.get(ORDERS, row.key) is not None


async def test_a_missing_table_is_refused_without_trying_again(
    emulator: Emulator, row: Record
) -> None:
    clock = ManualClock(START)
    records = await DynamoDBRecords.open(
        region="eu-central-1", endpoint_url=emulator.url, table_prefix="nowhere-", clock=clock
    )
    for work in (
        records.get(ORDERS, row.key),
        records.put(ORDERS, row, expect=None),
        records.transact([Delete(table=ORDERS, key=row.key, expect=None)]),
    ):
        error = await refusal(work)
        assert (error.code, error.metadata) == ("STORAGE_UNAVAILABLE", {})
    assert clock.monotonic() == 0
    await records.close()


async def test_tables_that_are_there_are_left_alone(emulator: Emulator, row: Record) -> None:
    first = await open_dynamodb(emulator.url, ManualClock(START), "twice-")
    stored = await first.put(ORDERS, row, expect=ABSENT)
    second = await open_dynamodb(emulator.url, ManualClock(START), "twice-")
    assert await second.get(ORDERS, row.key) == stored
    await first.close()
    await second.close()
