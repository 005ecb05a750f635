"""Threads that do blocking work in batches, with a bound on what may wait.

Promises: every accepted request is answered exactly once, also when a thread dies; `close` answers
what was accepted before it; what cannot be accepted is refused at once with STORAGE_UNAVAILABLE.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from trading_platform.kit.errors import ServiceError
from trading_platform.storage.rows import unavailable

CLOSE_TIMEOUT_S = 30.0

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Handler = Callable[[list[Request]], Sequence[Answer | ServiceError]]
"""Does a batch; answers one value or one refusal a request, in order."""


class Worker(Generic[Request, Answer]):
    """One queue, and one thread for each handler."""

    def __init__(
        self,
        name: str,
        handlers: Sequence[Handler[Request, Answer]],
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        self._name = name
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Request, asyncio.Future[Answer]] | None]
        self._queue = queue.SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(handler,), name=name, daemon=True)
            for handler in handlers
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request) -> "asyncio.Future[Answer]":
        """Queue one request; never waits."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise unavailable(f"The {self._name} is closed.")
            if self._waiting >= self._waiting_max:
                raise unavailable(f"{self._waiting} requests wait for the {self._name} already.")
            self._waiting += 1
            self._queue.put((request, future))
        return future

    async def close(self) -> None:
        """Answer what was accepted, then end the threads."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(CLOSE_TIMEOUT_S)

    def _run(self, handler: Handler[Request, Answer]) -> None:
        batch: list[tuple[Request, asyncio.Future[Answer]]] = []
        try:
            while True:
                batch, last = self._take()
                if batch:
                    _answer(batch, handler([request for request, _ in batch]))
                    batch = []
                if last:
                    return
        finally:
            # Reached with a batch in hand only when the handler broke its promise not to raise:
            # nobody may be left waiting for a thread that has gone.
            self._refuse(batch)

    def _take(self) -> tuple[list[tuple[Request, "asyncio.Future[Answer]"]], bool]:
        """Wait for one request, then take what else is there; True when told to stop."""
        batch: list[tuple[Request, asyncio.Future[Answer]]] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == self._batch_max:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        with self._lock:
            self._waiting -= len(batch)
        return batch, item is None

    def _refuse(self, batch: list[tuple[Request, "asyncio.Future[Answer]"]]) -> None:
        with self._lock:
            others = any(
                thread.is_alive() and thread is not threading.current_thread()
                for thread in self._threads
            )
            self._closed = self._closed or not others
        while not others:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                batch.append(item)
        error = unavailable(f"The {self._name} has stopped; restart.", maybe_written=True)
        _answer(batch, [error] * len(batch))


def _answer(
    batch: Sequence[tuple[Request, "asyncio.Future[Answer]"]],
    answers: Sequence[Answer | ServiceError],
) -> None:
    """Wake each event loop once for all its answers."""
    by_loop: dict[
        asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer | ServiceError]]
    ] = {}
    for (_, future), answer in zip(batch, answers, strict=True):
        by_loop.setdefault(future.get_loop(), []).append((future, answer))
    for loop, pairs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: Sequence[tuple["asyncio.Future[Answer]", Answer | ServiceError]]) -> None:
    for future, answer in pairs:
        if future.done():
            continue  # the caller gave up waiting
        if isinstance(answer, ServiceError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
