"""Nobody is left waiting for a thread, whatever becomes of it."""

import asyncio
import threading

import pytest

from trading_platform.kit.errors import ServiceError
from trading_platform.storage.worker import Worker


class Gate:
    """A handler that waits until it is let through; `broken` makes it raise."""

    def __init__(self, *, broken: bool = False) -> None:
        self.open = threading.Event()
        self.broken = broken
        self.batches: list[int] = []

    def __call__(self, batch: list[int]) -> list[int | ServiceError]:
        assert self.open.wait(10)
        self.batches.append(len(batch))
        if self.broken:
            raise RuntimeError("a bug")
        return [number * 2 for number in batch]


def a_worker(*gates: Gate, batch_max: int = 4, waiting_max: int = 100) -> Worker[int, int]:
    return Worker("worker", gates, batch_max=batch_max, waiting_max=waiting_max)


async def test_each_request_gets_its_own_answer_in_bounded_batches() -> None:
    gate = Gate()
    worker = a_worker(gate)
    waiting = [worker.submit(number) for number in range(30)]
    gate.open.set()
    assert await asyncio.gather(*waiting) == [number * 2 for number in range(30)]
    assert max(gate.batches) == 4
    await worker.close()


async def test_several_threads_share_one_queue() -> None:
    gates = Gate(), Gate()
    worker = a_worker(*gates, batch_max=1)
    waiting = [worker.submit(number) for number in range(2)]
    gates[0].open.set()
    gates[1].open.set()
    assert sorted(await asyncio.gather(*waiting)) == [0, 2]
    await worker.close()
    assert sum(len(gate.batches) for gate in gates) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_refuses_all_that_wait_and_all_that_come() -> None:
    gate = Gate(broken=True)
    worker = a_worker(gate)
    waiting = [worker.submit(number) for number in range(10)]
    gate.open.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {"STORAGE_UNAVAILABLE"}
    with pytest.raises(ServiceError, match="closed"):
        worker.submit(1)
    await worker.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_leaves_the_others_working() -> None:
    broken, sound = Gate(broken=True), Gate()
    worker = a_worker(broken, sound, batch_max=1)
    broken.open.set()
    waiting = [worker.submit(number) for number in range(10)]
    sound.open.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    assert len(refused) <= 1
    assert await worker.submit(4) == 8
    await worker.close()


async def test_answers_for_a_loop_that_has_ended_are_dropped() -> None:
    gate = Gate()
    worker = a_worker(gate)

    async def ask() -> None:
        worker.submit(1)

    await asyncio.to_thread(asyncio.run, ask())
    mine = worker.submit(2)
    gate.open.set()
    assert await mine == 4
    await worker.close()
