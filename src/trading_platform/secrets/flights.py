"""A small memory of what was read: at most one read of a key is under way, whoever asks."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from trading_platform.kit.clock import Clock

Value = TypeVar("Value")


class Flights(Generic[Value]):
    """Values by key for `ttl_s` seconds, the least recently read dropped beyond `entries_max`.

    A read that fails is told to all who wait for it and remembered by nobody. A read that began
    before `forget` is not remembered either, and nobody new waits for it.
    """

    def __init__(self, clock: Clock, *, ttl_s: float, entries_max: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._values: OrderedDict[Hashable, tuple[float, Value]] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[Value]] = {}

    def known(self, key: Hashable) -> Value | None:
        """The remembered value, if it is young enough."""
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock.monotonic():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return entry[1]

    async def read(self, key: Hashable, read: Callable[[], Awaitable[Value]]) -> Value:
        """The value that `read()` gives, or gives to somebody else right now."""
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._fly(key, read))
            self._under_way[key] = task
            task.add_done_callback(_look)
        # Shielded: one caller that gives up does not take the answer from the others.
        return await asyncio.shield(task)

    def forget(self, key: Hashable) -> None:
        """Read it anew next time."""
        self._values.pop(key, None)
        self._under_way.pop(key, None)

    def forget_all(self) -> None:
        """Read everything anew."""
        self._values.clear()
        self._under_way.clear()

    async def _fly(self, key: Hashable, read: Callable[[], Awaitable[Value]]) -> Value:
        try:
            value = await read()
            if self._is_mine(key):
                self._keep(key, value)
            return value
        finally:
            if self._is_mine(key):
                del self._under_way[key]

    def _is_mine(self, key: Hashable) -> bool:
        return self._under_way.get(key) is asyncio.current_task()

    def _keep(self, key: Hashable, value: Value) -> None:
        self._values[key] = (self._clock.monotonic() + self._ttl_s, value)
        self._values.move_to_end(key)
        if len(self._values) > self._entries_max:
            self._values.popitem(last=False)


def _look(task: asyncio.Task[Value]) -> None:
    """Somebody has seen the failure, also when every caller has gone."""
    if not task.cancelled():
        task.exception()
