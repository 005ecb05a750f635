"""The truth about the kill switches: one row each, all in one partition so that one query reads
every switch that was ever used.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.safety.switch import Scope, SwitchState, parse_scope, untouched
from trading_platform.storage.records import ABSENT, Key, Put, Record, Records
from trading_platform.storage.tables import KILL_SWITCHES

_PARTITION = "switches"
_PAGE_ROWS = 1000
_PAGES_MAX = 100
_TRIES_MAX = 50

WriteState = Callable[[SwitchState, SwitchState, Put], Awaitable[None]]
"""Given the state before, the state wanted, and what writes it."""


class SwitchStore:
    """Reads and changes switches; raises STORAGE_UNAVAILABLE, also when out of time."""

    def __init__(self, records: Records, *, read_s: float, write_s: float) -> None:
        self._records = records
        self._read_s = read_s
        self._write_s = write_s

    async def all(self) -> list[SwitchState]:
        """Every switch that was ever used."""
        try:
            async with asyncio.timeout(self._read_s):
                return await self._all()
        except TimeoutError as error:
            raise _out_of_time("read", self._read_s) from error

    async def change(
        self,
        scope: Scope,
        decide: Callable[[SwitchState], SwitchState],
        write: WriteState | None = None,
    ) -> SwitchState:
        """Store what `decide` makes of the current state, and give it once it is durable.

        `write` makes the new state durable together with more.
        Each lost race means that another writer got through, so trying again ends.
        """
        try:
            async with asyncio.timeout(self._write_s):
                return await self._change(scope, decide, write or self._write)
        except TimeoutError as error:
            raise _out_of_time("written", self._write_s) from error

    async def _all(self) -> list[SwitchState]:
        states: list[SwitchState] = []
        after: str | None = None
        for _ in range(_PAGES_MAX):
            page = await self._records.query(
                KILL_SWITCHES, _PARTITION, limit=_PAGE_ROWS, after=after
            )
            states += [_state(record) for record in page.records]
            after = page.after
            if after is None:
                return states
        raise ServiceError("There are too many kill switches to read.", "STORAGE_UNAVAILABLE")

    async def _write(self, before: SwitchState, wanted: SwitchState, put: Put) -> None:
        await self._records.put(put.table, put.record, expect=put.expect)

    async def _change(
        self, scope: Scope, decide: Callable[[SwitchState], SwitchState], write: WriteState
    ) -> SwitchState:
        key = Key(_PARTITION, str(scope))
        for _ in range(_TRIES_MAX):
            record = await self._records.get(KILL_SWITCHES, key)
            current = untouched(scope) if record is None else _state(record)
            wanted = decide(current)
            if wanted == current:
                return current
            row = Record(key=key, data=_data(wanted))
            version = ABSENT if record is None else record.version
            try:
                put = Put(table=KILL_SWITCHES, record=row, expect=version)
                await write(current, wanted, put)
            except ServiceError as error:
                if error.code != "CONFLICT":
                    raise
            else:
                return wanted
        raise ServiceError(
            f"The kill switch {scope} could not be changed: others keep changing it.",
            "STORAGE_UNAVAILABLE",
        )


class _Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    active: bool
    epoch: int
    reason: str
    actor: str
    changed_at: datetime | None


def _data(state: SwitchState) -> Mapping[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(
        _Row(
            active=state.active,
            epoch=state.epoch,
            reason=state.reason,
            actor=state.actor,
            changed_at=state.changed_at,
        )
    )
    return data


def _state(record: Record) -> SwitchState:
    """A row that cannot be understood is no truth at all: whoever asked must not trade."""
    try:
        scope = parse_scope(record.key.sort)
        row = msgspec.convert(record.data, _Row)
    except (msgspec.ValidationError, ServiceError) as error:
        raise ServiceError(
            f"The stored kill switch {record.key.sort!r} cannot be understood.",
            "STORAGE_UNAVAILABLE",
        ) from error
    return SwitchState(
        scope=scope,
        active=row.active,
        epoch=row.epoch,
        reason=row.reason,
        actor=row.actor,
        changed_at=row.changed_at,
    )


def _out_of_time(done: str, bound_s: float) -> ServiceError:
    return ServiceError(
        f"The kill switches could not be {done} within {bound_s} s.", "STORAGE_UNAVAILABLE"
    )
