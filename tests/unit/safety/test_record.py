"""Kill switches in the audit log: stopping never waits for it, starting again always does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trading_platform.cache.link import Link
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.limits.limiter import Limiter
from trading_platform.safety import record
from trading_platform.safety.service import SafetyService
from trading_platform.safety.switch import PLATFORM, Scope, exchange_scope, tenant_scope
from trading_platform.storage.records import Put, Write
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import AUDIT
from trading_platform.tenants.audit import AuditLog

T1 = tenant_scope("t1")


class Moody:
    """Real records that can refuse, or hold up, whatever concerns the audit log."""

    def __init__(self, records: SqliteRecords) -> None:
        self._records = records
        self.refusing = False
        self.held: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def transact(self, writes: Sequence[Write]) -> None:
        if any(isinstance(write, Put) and write.table == AUDIT for write in writes):
            if self.refusing:
                raise ServiceError("disk full", "STORAGE_UNAVAILABLE")
            if self.held is not None:
                await self.held.wait()
        await self._records.transact(writes)


class Warnings:
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.said.append(event)


@pytest.fixture
async def moody(tmp_path: Path) -> AsyncIterator[Moody]:
    opened = await SqliteRecords.open(tmp_path / "records.db")
    yield Moody(opened)
    await opened.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "backoff_s", lambda attempt, **_: 0.005)


def a_service(moody: Moody, link: Link, log: Warnings | None = None) -> SafetyService:
    clock = ManualClock()
    limiter = Limiter(link, clock)
    audit = AuditLog(moody, clock)
    return SafetyService(moody, link, limiter, Bus(), clock, log=log, audit=audit)


async def entries(moody: Moody, log: str = "t1") -> list[tuple[str, str, str]]:
    found, _ = await AuditLog(moody, ManualClock()).entries(log)
    return [(entry.action, entry.target, entry.details["epoch"]) for entry in found]


@pytest.mark.parametrize(
    ("scope", "log"), [(T1, "t1"), (PLATFORM, "platform"), (exchange_scope("BINANCE"), "platform")]
)
async def test_activation_and_release_stand_in_the_log_of_whom_they_concern(
    moody: Moody, link: Link, scope: Scope, log: str
) -> None:
    safety = a_service(moody, link)
    await safety.load()
    await safety.activate(scope, reason="drill", actor="ann")
    await safety.close()
    await safety.release(scope, epoch=1, reason="over", actor="bob")
    assert await entries(moody, log) == [
        ("KILL_SWITCH_ACTIVATED", str(scope), "1"),
        ("KILL_SWITCH_RELEASED", str(scope), "2"),
    ]
    found, _ = await AuditLog(moody, ManualClock()).entries(log)
    assert [(entry.actor, entry.details["reason"]) for entry in found] == [
        ("ann", "drill"),
        ("bob", "over"),
    ]


async def test_an_activation_does_not_wait_for_a_log_that_hangs(moody: Moody, link: Link) -> None:
    safety = a_service(moody, link)
    await safety.load()
    moody.held = asyncio.Event()
    state = await asyncio.wait_for(safety.activate(T1, reason="drill", actor="ann"), 1.0)
    assert state.active
    assert await entries(moody) == []
    moody.held.set()
    await safety.close()
    assert await entries(moody) == [("KILL_SWITCH_ACTIVATED", "tenant:t1", "1")]


async def test_an_activation_is_not_refused_by_a_failing_log_and_is_written_down_later(
    moody: Moody, link: Link
) -> None:
    warnings = Warnings()
    safety = a_service(moody, link, warnings)
    await safety.load()
    moody.refusing = True
    assert (await safety.activate(T1, reason="drill", actor="ann")).active
    with pytest.raises(ServiceError, match="Trading is halted"):
        safety.may_send("t1", "BINANCE")
    while not warnings.said:  # noqa: ASYNC110 - the log is asked only now and then
        await asyncio.sleep(0.001)
    moody.refusing = False
    await safety.close()
    assert warnings.said[0] == "kill switch activation not in the audit log"
    assert await entries(moody) == [("KILL_SWITCH_ACTIVATED", "tenant:t1", "1")]


async def test_what_a_dead_process_did_not_write_down_the_next_one_does_once(
    moody: Moody, link: Link
) -> None:
    died = a_service(moody, link)
    await died.load()
    moody.refusing = True
    await died.activate(T1, reason="drill", actor="ann")
    await asyncio.wait_for(died.close(), 5.0)  # gives up: as good as dead
    moody.refusing = False
    for _ in range(2):
        born = a_service(moody, link)
        await born.load()
        await born.close()
    assert await entries(moody) == [("KILL_SWITCH_ACTIVATED", "tenant:t1", "1")]


async def test_without_an_entry_nothing_is_released(moody: Moody, link: Link) -> None:
    safety = a_service(moody, link)
    await safety.load()
    await safety.activate(T1, reason="drill", actor="ann")
    await safety.close()
    moody.refusing = True
    with pytest.raises(ServiceError, match="disk full"):
        await safety.release(T1, epoch=1, reason="over", actor="ann")
    with pytest.raises(ServiceError, match="Trading is halted"):
        safety.may_send("t1", "BINANCE")
    own = [state for state in await safety.status("t1") if state.scope == T1]
    assert [(state.active, state.epoch) for state in own] == [(True, 1)]


async def test_a_release_puts_the_entry_of_its_activation_before_its_own(
    moody: Moody, link: Link
) -> None:
    safety = a_service(moody, link)
    await safety.load()
    moody.refusing = True
    await safety.activate(T1, reason="drill", actor="ann")
    await safety.close()
    moody.refusing = False
    await safety.release(T1, epoch=1, reason="over", actor="ann")
    assert [action for action, _, _ in await entries(moody)] == [
        "KILL_SWITCH_ACTIVATED",
        "KILL_SWITCH_RELEASED",
    ]


async def test_a_release_that_is_refused_leaves_no_entry(moody: Moody, link: Link) -> None:
    safety = a_service(moody, link)
    await safety.load()
    await safety.activate(T1, reason="drill", actor="ann")
    await safety.close()
    with pytest.raises(ServiceError) as caught:
        await safety.release(T1, epoch=7, reason="over", actor="ann")
    assert caught.value.code == "CONFLICT"
    assert len(await entries(moody)) == 1
