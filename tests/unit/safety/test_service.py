"""The kill switch on a real Valkey and real records, with everything around it breaking."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.service import CacheService
from trading_platform.cache.valkey import EmbeddedValkey, start_embedded
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.limits import keys
from trading_platform.limits.limiter import Limited, Limiter
from trading_platform.market.events import KillSwitchChanged
from trading_platform.safety.permits import Permits
from trading_platform.safety.service import SafetyService
from trading_platform.safety.switch import (
    PLATFORM,
    Board,
    Scope,
    exchange_scope,
    learned,
    tenant_scope,
)
from trading_platform.storage.records import Key, Page, Record, Write
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import KILL_SWITCHES
from trading_platform.tenants.model import Tier

T1 = tenant_scope("t1")
ROW = Key("switches", "tenant:t1")


class FailingRecords:
    """Real records whose reads or writes can be made to fail, and answers held back."""

    def __init__(self, records: SqliteRecords) -> None:
        self._records = records
        self.reads_fail = False
        self.writes_fail = False
        self.reading = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.reads = 0

    async def get(self, table: str, key: Key) -> Record | None:
        return await self._records.get(table, key)

    async def put(self, table: str, record: Record, *, expect: int | None) -> Record:
        if self.writes_fail:
            raise ServiceError("disk full", "STORAGE_UNAVAILABLE")
        return await self._records.put(table, record, expect=expect)

    async def delete(self, table: str, key: Key, *, expect: int | None) -> None:
        await self._records.delete(table, key, expect=expect)

    async def query(self, table: str, partition: str, **options: Any) -> Page:
        self.reads += 1
        if self.reads_fail:
            raise ServiceError("disk gone", "STORAGE_UNAVAILABLE")
        page = await self._records.query(table, partition, **options)
        self.reading.set()
        if self.hold is not None:
            await self.hold.wait()
        return page

    async def transact(self, writes: Sequence[Write]) -> None:
        await self._records.transact(writes)

    async def close(self) -> None:
        await self._records.close()


class House:
    """One process: its own board and connections, on shared records and cache."""

    def __init__(self, records: FailingRecords, url: str, poll_s: float = 0.02) -> None:
        self.records = records
        self.clock = ManualClock()
        self.bus = Bus()
        self.facts = self.bus.subscribe(KillSwitchChanged)
        self.link = Link(url, pause_first_s=0.001, pause_max_s=0.001)
        self.cache = CacheService(url)
        limiter = Limiter(self.link, self.clock)
        self.safety = SafetyService(
            records,
            self.link,
            limiter,
            self.bus,
            self.clock,
            subscribe=self.cache.subscribe,
            poll_s=poll_s,
        )

    async def order(self, tenant_id: str = "t1", exchange_id: str = "BINANCE") -> str:
        """`sent`, or the code of the refusal."""
        try:
            await self.safety.admit_order(tenant_id, Tier.ENTERPRISE, exchange_id)
            self.safety.may_send(tenant_id, exchange_id)
        except ServiceError as error:
            return error.code
        return "sent"

    async def close(self) -> None:
        await self.link.close()
        await self.cache.close()


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[FailingRecords]:
    opened = FailingRecords(await SqliteRecords.open(tmp_path / "records.db"))
    yield opened
    await opened.close()


@pytest.fixture
async def house(
    records: FailingRecords, server: EmbeddedValkey, link: Link
) -> AsyncIterator[House]:
    built = House(records, server.url)
    await built.safety.load()
    yield built
    await built.close()


@pytest.fixture
async def other(
    records: FailingRecords, server: EmbeddedValkey, link: Link
) -> AsyncIterator[House]:
    built = House(records, server.url)
    await built.safety.load()
    yield built
    await built.close()


async def _halt(house: House, scope: Scope) -> int:
    state = await house.safety.activate(scope, reason="drill", actor="ann")
    return state.epoch


async def test_order_passes_while_nothing_is_active(house: House) -> None:
    assert await house.order() == "sent"


async def test_admission_costs_one_round_trip_once_a_permit_is_there(
    house: House, link: Link
) -> None:
    await house.order()
    await link.call("CONFIG", "RESETSTAT")
    reads = house.records.reads
    for _ in range(5):
        assert await house.order() == "sent"
    said = await link.call("INFO", "commandstats")
    assert isinstance(said, bytes)
    calls = {
        line.split(":")[0]: line for line in said.decode().splitlines() if line.startswith("cmd")
    }
    assert "calls=5," in calls["cmdstat_evalsha"]
    assert house.records.reads == reads


@pytest.mark.parametrize("scope", [PLATFORM, exchange_scope("BINANCE"), T1])
async def test_activation_stops_the_next_order_and_release_lets_the_one_after_pass(
    house: House, scope: Scope
) -> None:
    assert await house.order() == "sent"
    epoch = await _halt(house, scope)
    assert await house.order() == "TRADING_HALTED"
    await house.safety.release(scope, epoch=epoch, reason="over", actor="ann")
    assert await house.order() == "sent"


async def test_halt_of_one_tenant_or_exchange_leaves_the_others_alone(house: House) -> None:
    await _halt(house, T1)
    await _halt(house, exchange_scope("COINBASE"))
    assert await house.order("t2", "BINANCE") == "sent"
    assert await house.order("t2", "COINBASE") == "TRADING_HALTED"
    assert await house.order("t1", "BINANCE") == "TRADING_HALTED"


async def test_refusal_names_the_switch_and_its_reason(house: House) -> None:
    await _halt(house, T1)
    with pytest.raises(ServiceError, match=r"tenant:t1.*drill") as refused:
        await house.safety.admit_order("t1", Tier.FREE, "BINANCE")
    assert refused.value.metadata == {"scope": "tenant:t1", "epoch": 1}


async def test_order_over_the_tier_is_refused_with_when_to_come_back(house: House) -> None:
    for _ in range(10):
        await house.safety.admit_order("t1", Tier.FREE, "BINANCE")
    with pytest.raises(ServiceError) as refused:
        await house.safety.admit_order("t1", Tier.FREE, "BINANCE")
    assert refused.value.code == "RATE_LIMIT_EXCEEDED"
    assert 55 < refused.value.metadata["retryAfter"] <= 60
    assert refused.value.metadata["limitedBy"] == Limited.ORDERS


async def test_admitted_order_that_has_not_left_is_stopped_too(house: House) -> None:
    await house.safety.admit_order("t1", Tier.FREE, "BINANCE")
    await _halt(house, PLATFORM)
    with pytest.raises(ServiceError) as refused:
        house.safety.may_send("t1", "BINANCE")
    assert refused.value.code == "TRADING_HALTED"


async def test_activation_is_durable_before_it_returns(
    house: House, server: EmbeddedValkey, link: Link
) -> None:
    await _halt(house, T1)
    await link.call("FLUSHALL")
    restarted = House(house.records, server.url)
    assert await restarted.order() == "TRADING_HALTED"  # not even loaded: nobody can tell
    await restarted.safety.load()
    assert await restarted.order() == "TRADING_HALTED"
    assert await restarted.order("t2") == "sent"
    await restarted.close()


async def test_activation_holds_here_from_the_moment_it_was_asked(house: House) -> None:
    assert await house.order() == "sent"
    asked = asyncio.create_task(_halt(house, T1))
    await asyncio.sleep(0)  # asked, not yet durable
    with pytest.raises(ServiceError, match="being halted"):
        house.safety.may_send("t1", "BINANCE")
    assert await house.order() == "TRADING_HALTED"
    assert await house.order("t2") == "sent"
    await asked


async def test_activation_goes_on_when_its_caller_goes_away(house: House) -> None:
    asked = asyncio.create_task(_halt(house, T1))
    await asyncio.sleep(0)
    asked.cancel()
    fact = await asyncio.wait_for(house.facts.next(), 2)
    assert (fact.scope, fact.active) == ("tenant:t1", True)
    assert await house.order() == "TRADING_HALTED"


async def test_activation_that_could_not_be_written_is_reported_and_holds_until_it_is(
    house: House,
) -> None:
    house.records.writes_fail = True
    for _ in range(3):
        with pytest.raises(ServiceError) as failed:
            await _halt(house, T1)
        assert failed.value.code == "STORAGE_UNAVAILABLE"
    assert await house.order() == "TRADING_HALTED"
    assert await house.order("t2") == "sent"
    house.records.writes_fail = False
    facts = house.bus.subscribe(KillSwitchChanged)
    async with asyncio.timeout(5):
        fact = await facts.next()
    assert (fact.scope, fact.active, fact.epoch) == ("tenant:t1", True, 1)
    await asyncio.gather(*house.safety._arriving._insisting.values())
    assert await house.order() == "TRADING_HALTED"
    await house.safety.release(T1, epoch=1, reason="checked", actor="ops")
    assert await house.order() == "sent"
    await house.safety.close()


async def test_activation_holds_while_the_cache_is_away(
    records: FailingRecords, tmp_path: Path
) -> None:
    cache = await start_embedded(tmp_path / "v")
    house = House(records, cache.url)
    await house.safety.load()
    assert await house.order() == "sent"
    os.kill(cache.process_id, signal.SIGKILL)
    await asyncio.sleep(0.05)
    assert await house.order() == "PROVIDER_UNAVAILABLE"  # no order without an answer
    await _halt(house, T1)
    assert await house.order() == "TRADING_HALTED"
    await cache.close()
    cache = await start_embedded(tmp_path / "v")
    await asyncio.sleep(0.01)
    fresh = House(records, cache.url)  # its mirror and permits are from before the halt
    await fresh.safety.load()
    assert await fresh.order() == "TRADING_HALTED"
    for each in (house, fresh):
        await each.close()
    await cache.close()


async def test_emptied_cache_lets_nothing_pass_while_the_records_say_halted(
    house: House, other: House, link: Link
) -> None:
    await _halt(house, T1)
    await link.call("FLUSHALL")
    assert await other.order() == "TRADING_HALTED"
    assert await house.order() == "TRADING_HALTED"


async def test_old_mirror_restored_lets_nothing_pass(
    house: House, other: House, link: Link
) -> None:
    await other.order()
    epoch = await _halt(house, T1)
    await house.safety.release(T1, epoch=epoch, reason="over", actor="ann")
    old = await link.call("GET", keys.mirror_key("t1"))
    await house.safety.activate(T1, reason="again", actor="ann")
    assert isinstance(old, bytes)
    await link.call("SET", keys.mirror_key("t1"), old)
    assert b'"active":false' in old
    assert await other.order() == "TRADING_HALTED"


async def test_mirror_left_active_after_a_release_is_put_right(
    house: House, other: House, link: Link
) -> None:
    epoch = await _halt(house, T1)
    active = await link.call("GET", keys.mirror_key("t1"))
    await house.safety.release(T1, epoch=epoch, reason="over", actor="ann")
    assert isinstance(active, bytes)
    await link.call("SET", keys.mirror_key("t1"), active)
    assert await other.order() == "sent"


async def test_mirror_newer_than_the_records_holds_until_a_person_settles_it(
    house: House, link: Link
) -> None:
    await link.call("SET", keys.mirror_key("t1"), '{"active":true,"epoch":7}')
    assert await house.order() == "TRADING_HALTED"
    epoch = await _halt(house, T1)
    await house.safety.release(T1, epoch=epoch, reason="restored", actor="ann")
    assert await house.order() == "sent"


async def test_permit_issued_before_an_activation_by_another_process_is_gone(
    house: House, other: House
) -> None:
    """`other` has not heard of the halt: only the cache stops it."""
    for tenant_id in ("t1", "t2"):
        assert await house.order(tenant_id) == "sent"
        assert await other.order(tenant_id) == "sent"
    await _halt(house, PLATFORM)
    for tenant_id in ("t1", "t2"):
        with pytest.raises(ServiceError) as refused:
            await other.safety.admit_order(tenant_id, Tier.PRO, "BINANCE")
        assert refused.value.code == "TRADING_HALTED"


async def test_reading_from_before_an_activation_cannot_bring_its_permit_back(
    house: House, other: House, records: FailingRecords, link: Link
) -> None:
    await house.order()
    await link.call("DEL", keys.permit_key("t1"))
    records.reading.clear()
    records.hold = asyncio.Event()
    slow = asyncio.create_task(other.safety.admit_order("t1", Tier.PRO, "BINANCE"))
    await records.reading.wait()
    await house.safety.activate(PLATFORM, reason="drill", actor="ann")
    records.hold.set()
    with pytest.raises(ServiceError) as refused:
        await slow
    assert refused.value.code == "TRADING_HALTED"


async def test_stalled_cache_does_not_prolong_a_permit(house: House, link: Link) -> None:
    permits = Permits(link)
    now_us = await permits.server_us()
    await permits.issue(["t1"], Board(), now_us - 1_980_000)
    limiter = Limiter(link, house.clock)
    assert (await limiter.admit_order("t1", Tier.PRO, "BINANCE")).admission is not None
    await asyncio.sleep(0.03)
    assert (await limiter.admit_order("t1", Tier.PRO, "BINANCE")).admission is None
    await permits.issue(["t1"], Board(), now_us - 2_000_001)  # written too late to be true
    assert await link.call("GET", keys.permit_key("t1")) is None


async def test_unreadable_records_admit_nothing_without_a_permit(house: House) -> None:
    house.records.reads_fail = True
    assert await house.order() == "STORAGE_UNAVAILABLE"


async def test_board_older_than_two_seconds_sends_nothing(house: House) -> None:
    await house.safety.admit_order("t1", Tier.PRO, "BINANCE")
    house.clock.advance(1.9)
    house.safety.may_send("t1", "BINANCE")
    house.clock.advance(0.2)
    with pytest.raises(ServiceError, match="nobody can tell"):
        house.safety.may_send("t1", "BINANCE")


async def test_row_that_cannot_be_understood_admits_nothing(house: House) -> None:
    await house.records.put(
        KILL_SWITCHES, Record(key=ROW, data={"active": "perhaps", "epoch": 1}), expect=None
    )
    assert await house.order() == "STORAGE_UNAVAILABLE"
    with pytest.raises(ServiceError, match="cannot be understood"):
        await house.safety.load()


async def test_release_needs_the_epoch_of_the_latest_activation(house: House) -> None:
    epoch = await _halt(house, T1)
    await house.safety.activate(T1, reason="and another", actor="bob")
    with pytest.raises(ServiceError) as refused:
        await house.safety.release(T1, epoch=epoch, reason="over", actor="ann")
    assert refused.value.code == "CONFLICT"
    assert await house.order() == "TRADING_HALTED"


async def test_crowd_of_activations_and_one_old_release_ends_halted(
    house: House, other: House
) -> None:
    epoch = await _halt(house, T1)
    crowd = [
        each.safety.activate(T1, reason=f"reason {n}", actor="ann")
        for n, each in enumerate((house, other) * 5)
    ]
    late = house.safety.release(T1, epoch=epoch, reason="over", actor="ann")
    await asyncio.gather(*crowd, late, return_exceptions=True)
    for each in (house, other):
        assert await each.order() == "TRADING_HALTED"
    own = (await house.safety.status("t1"))[-1]
    assert own.active
    assert own.epoch >= 11


async def test_records_restored_from_before_a_halt_do_not_release_it_here(house: House) -> None:
    await _halt(house, T1)
    await house.records.delete(KILL_SWITCHES, ROW, expect=None)
    await house.safety.load()
    assert await house.order() == "TRADING_HALTED"
    own = (await house.safety.status("t1"))[-1]
    await house.safety.release(T1, epoch=own.epoch, reason="settled", actor="ann")
    assert await house.order() == "sent"


async def test_activation_after_lost_epochs_goes_above_the_highest_ever_seen(house: House) -> None:
    await _halt(house, T1)
    await house.records.delete(KILL_SWITCHES, ROW, expect=None)
    state = await house.safety.activate(T1, reason="after the restore", actor="ann")
    assert state.epoch == 2


async def test_halt_whose_process_lost_the_cache_is_spread_by_whoever_reads_it(
    house: House, other: House, link: Link
) -> None:
    assert await other.order() == "sent"
    await house.link.close()
    await _halt(house, PLATFORM)
    permit = await link.call("GET", keys.permit_key("t1"))
    assert isinstance(permit, bytes)
    assert b"|G|" in permit
    await other.safety.load()
    permit = await link.call("GET", keys.permit_key("t1"))
    assert isinstance(permit, bytes)
    assert b"|R|" in permit


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        (PLATFORM, b"|R|"),
        (T1, b"|R|"),
        (tenant_scope("t2"), b"|G|"),
        (exchange_scope("BINANCE"), b"|G|BINANCE|"),
    ],
)
async def test_permit_says_what_the_board_says(
    house: House, link: Link, scope: Scope, says: bytes
) -> None:
    state = await house.safety.activate(scope, reason="drill", actor="ann")
    board, _ = learned(Board(), [state])
    await link.call("FLUSHALL")
    permits = Permits(link)
    await permits.issue(["t1"], board, await permits.server_us())
    permit = await link.call("GET", keys.permit_key("t1"))
    assert isinstance(permit, bytes)
    assert permit.lstrip(b"0123456789") == says


async def test_start_does_not_announce_old_halts_as_new(
    house: House, server: EmbeddedValkey
) -> None:
    await _halt(house, T1)
    restarted = House(house.records, server.url)
    await restarted.safety.load()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(restarted.facts.next(), 0.02)
    await restarted.close()


async def test_stalled_cache_admits_no_order_and_delays_requests_little(
    records: FailingRecords, tmp_path: Path
) -> None:
    cache = await start_embedded(tmp_path / "v")
    link = Link(cache.url, deadline_s=0.1, pause_first_s=0.001, pause_max_s=0.001)
    clock = ManualClock()
    limiter = Limiter(link, clock)
    safety = SafetyService(records, link, limiter, Bus(), clock)
    await safety.load()
    await safety.admit_order("t1", Tier.PRO, "BINANCE")
    os.kill(cache.process_id, signal.SIGSTOP)
    try:
        loop = asyncio.get_running_loop()
        with pytest.raises(ServiceError) as refused:
            await safety.admit_order("t1", Tier.PRO, "BINANCE")
        assert refused.value.code == "PROVIDER_UNAVAILABLE"
        await limiter.admit_request("t1", Tier.PRO)  # the first may wait for a new connection
        started = loop.time()
        assert (await limiter.admit_request("t1", Tier.PRO)).degraded
        assert loop.time() - started < 0.3
        state = await safety.activate(T1, reason="drill", actor="ann")
        assert state.active
    finally:
        os.kill(cache.process_id, signal.SIGCONT)
    with pytest.raises(ServiceError) as refused:
        await safety.admit_order("t1", Tier.PRO, "BINANCE")
    assert refused.value.code == "TRADING_HALTED"
    await link.close()
    await cache.close()


async def test_status_tells_every_scope_of_the_tenant(house: House) -> None:
    await _halt(house, exchange_scope("COINBASE"))
    await _halt(house, tenant_scope("t2"))
    states = await house.safety.status("t1")
    assert [(str(state.scope), state.active, state.epoch) for state in states] == [
        ("platform", False, 0),
        ("exchange:BINANCE", False, 0),
        ("exchange:COINBASE", True, 1),
        ("tenant:t1", False, 0),
    ]


async def test_changes_are_told_on_the_bus_once(house: House) -> None:
    epoch = await _halt(house, T1)
    await _halt(house, T1)
    await house.safety.release(T1, epoch=epoch, reason="over", actor="bob")
    first, second = await house.facts.next(), await house.facts.next()
    assert (first.scope, first.active, first.epoch, first.reason) == ("tenant:t1", True, 1, "drill")
    assert (second.active, second.epoch, second.actor) == (False, 2, "bob")
    await house.safety.load()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(house.facts.next(), 0.02)


async def test_running_process_hears_of_another_s_halt_and_tells_its_own_bus(
    house: House, other: House
) -> None:
    running = asyncio.create_task(other.safety.run())
    await _halt(house, T1)
    heard = await asyncio.wait_for(other.facts.next(), 2)
    assert (heard.scope, heard.active) == ("tenant:t1", True)
    with pytest.raises(ServiceError):
        other.safety.may_send("t1", "BINANCE")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_halt_told_during_a_reading_that_missed_it_is_read_at_once(
    house: House, records: FailingRecords, server: EmbeddedValkey
) -> None:
    slow = House(records, server.url, poll_s=60)
    running = asyncio.create_task(slow.safety.run())
    await asyncio.sleep(0.05)  # it listens, and waits for the next poll
    records.reading.clear()
    records.hold = asyncio.Event()
    await house.cache.publish("kill-switch-changed", b"anything")
    await asyncio.wait_for(records.reading.wait(), 2)
    await _halt(house, T1)
    await asyncio.sleep(0.05)  # its news arrives while the old reading is still under way
    records.hold.set()
    heard = await asyncio.wait_for(slow.facts.next(), 2)
    assert heard.scope == "tenant:t1"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await slow.close()


async def test_running_process_renews_permits_and_keeps_its_board_young(
    house: House, link: Link
) -> None:
    assert await house.order() == "sent"
    before = await link.call("GET", keys.permit_key("t1"))
    running = asyncio.create_task(house.safety.run())
    for _ in range(50):
        house.clock.advance(0.5)
        await asyncio.sleep(0.02)
        if await link.call("GET", keys.permit_key("t1")) not in (before, None):
            break
    else:
        pytest.fail("the permit was not renewed")
    house.safety.may_send("t1", "BINANCE")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_running_process_that_cannot_read_goes_on_and_sends_nothing_meanwhile(
    house: House,
) -> None:
    running = asyncio.create_task(house.safety.run())
    house.records.reads_fail = True
    await asyncio.sleep(0.05)
    house.clock.advance(3)
    with pytest.raises(ServiceError):
        house.safety.may_send("t1", "BINANCE")
    house.records.reads_fail = False
    await asyncio.sleep(0.08)
    assert not running.done()
    assert await house.order() == "sent"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_first_orders_of_many_tenants_share_one_reading(house: House) -> None:
    reads = house.records.reads
    answers = await asyncio.gather(*(house.order(f"tenant-{n}") for n in range(200)))
    assert answers == ["sent"] * 200
    assert house.records.reads - reads <= 3
