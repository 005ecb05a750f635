"""What this process knows of the switches: the newest reading, and all it has seen before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.events import KillSwitchChanged
from trading_platform.safety.permits import Permits
from trading_platform.safety.store import SwitchStore
from trading_platform.safety.switch import Board, SwitchState, learned, merged

_CACHE_TIME_S = 0.25


class Truth:
    """Keeps the board, and announces on the bus what is news to it."""

    def __init__(
        self,
        store: SwitchStore,
        permits: Permits,
        bus: Bus,
        clock: Clock,
        revoke: Callable[[Sequence[SwitchState]], Awaitable[None]],
    ) -> None:
        """`revoke` is awaited with the halts learned by reading: other processes made them, which
        do not know all tenants whose permits end.
        """
        self._store = store
        self._permits = permits
        self._bus = bus
        self._clock = clock
        self._revoke = revoke
        self._reading: asyncio.Task[None] | None = None
        self.board = Board()
        self.read_at_us: int | None = None
        """The cache's clock before the newest reading began; None when it was away."""

    async def refresh(self) -> None:
        """Read all switches; callers at the same time share one reading. Raises
        STORAGE_UNAVAILABLE, and then the board stays as it was and ages.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="kill-switch-read")
        await asyncio.shield(self._reading)

    def latest(self, stored: SwitchState) -> SwitchState:
        """What holds of one switch by its row and by all that was seen before."""
        return merged(self.board.states.get(str(stored.scope)), stored)

    def learn(
        self, states: Sequence[SwitchState], read_at_s: float | None = None
    ) -> list[SwitchState]:
        """Take in states, all of them when `read_at_s` is given, and give those that are news.

        Nothing of the first reading is news: it was told when it happened.
        """
        first = self.board.read_at_s is None and read_at_s is not None
        self.board, news = learned(self.board, states, read_at_s)
        if first:
            return []
        for state in news:
            self._bus.publish(_fact(state))
        return news

    async def _read(self) -> None:
        try:
            read_at_us = await self._cache_time()
            read_at_s = self._clock.monotonic()
            states = await self._store.all()
        finally:
            self._reading = None
        self.read_at_us = read_at_us
        halted = [state for state in self.learn(states, read_at_s) if state.active]
        if halted:
            await self._revoke(halted)

    async def _cache_time(self) -> int | None:
        """A permit counts from here, so that it never outlives what was read."""
        try:
            async with asyncio.timeout(_CACHE_TIME_S):
                return await self._permits.server_us()
        except (ServiceError, TimeoutError):
            return None


def _fact(state: SwitchState) -> KillSwitchChanged:
    assert state.changed_at is not None  # noqa: S101 - only untouched switches have none
    return KillSwitchChanged(
        scope=str(state.scope),
        active=state.active,
        epoch=state.epoch,
        reason=state.reason,
        actor=state.actor,
        event_at=state.changed_at,
    )
