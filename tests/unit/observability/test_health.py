import asyncio

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.observability.health import Health


async def well() -> str | None:
    return None


async def test_ready_when_all_required_checks_are_well() -> None:
    health = Health(ManualClock())
    health.add("records", well)
    assert (await health.readiness()).ready


async def test_one_required_failure_makes_it_unready_and_says_why() -> None:
    async def broken() -> str | None:
        raise ServiceError("The disk is full.", "STORAGE_UNAVAILABLE")

    health = Health(ManualClock())
    health.add("cache", well)
    health.add("records", broken)
    answer = await health.readiness()
    assert not answer.ready
    assert {c.name: c.message for c in answer.checks} == {
        "cache": None,
        "records": "The disk is full.",
    }


async def test_an_optional_failure_is_shown_and_stays_ready() -> None:
    async def thin() -> str | None:
        return "only one exchange is connected"

    health = Health(ManualClock())
    health.add("feeds", thin, required=False)
    answer = await health.readiness()
    assert answer.ready
    assert answer.checks[0].message == "only one exchange is connected"


async def test_a_hanging_check_fails_within_its_time() -> None:
    async def hang() -> str | None:
        await asyncio.Event().wait()
        return None

    health = Health(ManualClock(), timeout_s=0.02)
    health.add("cache", hang)
    assert (await health.readiness()).checks[0].message == "no answer within 0.02 s"


async def test_many_who_ask_share_one_answer_until_it_is_old() -> None:
    asked = 0

    async def count() -> str | None:
        nonlocal asked
        asked += 1
        return None

    clock = ManualClock()
    health = Health(clock, keep_s=1.0)
    health.add("records", count)
    await asyncio.gather(*(health.readiness() for _ in range(20)))
    await health.readiness()
    assert asked == 1
    clock.advance(1.1)
    await health.readiness()
    assert asked == 2


def test_a_name_stands_once() -> None:
    health = Health(ManualClock())
    health.add("records", well)
    with pytest.raises(ValueError, match="exists already"):
        health.add("records", well)
