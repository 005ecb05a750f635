"""Looks after stored keys: re-validates daily and after a failed login, follows what other
processes changed, and finishes what a stop left half done.

1. Changes of other processes are in force here within FOLLOW_S, hints or none.
2. An exchange that does not answer suspends nobody; it is asked again after RETRY.
"""

import asyncio
from datetime import timedelta

from msgspec.structs import replace

from trading_platform.exchanges.credential_rows import GONE, CredentialRow, CredentialStatus, stamp
from trading_platform.exchanges.credentials import SYSTEM, CredentialService
from trading_platform.exchanges.key_rotation import KeyRotation
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId

FOLLOW_S = 5.0
OVERLAP = timedelta(seconds=30)
"""Rows of other processes may come in this late, by their clock."""
RETRY = timedelta(minutes=15)
SUSPECT_AGAIN_S = 30.0
DUE_MAX = 20
SUSPECTS_MAX = 10_000


class CredentialWatch:
    """The loop of one process; several processes may run it at once."""

    def __init__(self, service: CredentialService, rotation: KeyRotation) -> None:
        self._service = service
        self._rotation = rotation
        self._seen: dict[tuple[str, ExchangeId], int] = {}
        self._since = ""
        self._suspects: dict[tuple[str, ExchangeId], None] = {}
        self._asked_at: dict[tuple[str, ExchangeId], float] = {}
        self._alarm = asyncio.Event()

    def on_authentication_failure(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """The exchange refused the key of a request: validate it soon; never waits."""
        account = (tenant_id, exchange_id)
        now = self._service.clock.monotonic()
        if now - self._asked_at.get(account, float("-inf")) < SUSPECT_AGAIN_S:
            return
        if len(self._suspects) < SUSPECTS_MAX:
            self._suspects[account] = None
            self._alarm.set()

    async def load(self) -> None:
        """Know the standing of every account before the first order."""
        await self.follow()

    async def run(self) -> None:
        """Follow, validate and finish until canceled."""
        while True:
            await self.work_off()
            self._alarm.clear()
            if not self._suspects:
                await self._wait()

    async def work_off(self) -> None:
        """Do once what `run` would do now."""
        await self.follow()
        while self._suspects:
            account = next(iter(self._suspects))
            del self._suspects[account]
            self._asked_at.pop(account, None)  # keeps the newest last
            self._asked_at[account] = self._service.clock.monotonic()
            if len(self._asked_at) > SUSPECTS_MAX:
                del self._asked_at[next(iter(self._asked_at))]
            await self._service.custody.renew(*account)
            await self._validate(*account)
        for row in await self._service.rows.due(self._service.clock.now(), DUE_MAX):
            await self._look_after(row)

    async def follow(self) -> None:
        """Take in rows that were changed since the last time, here or elsewhere."""
        started = self._service.clock.now()
        after: str | None = None
        while True:
            rows, after = await self._service.rows.changed(self._since, after)
            for row in rows:
                await self._take_in(row)
            if after is None:
                break
        self._since = stamp(started - OVERLAP)

    async def _take_in(self, row: CredentialRow) -> None:
        seen = self._seen.get(row.account)
        if seen == row.version:
            return
        self._seen[row.account] = row.version
        self._service.standing.note(row)
        if row.status in GONE:
            await self._service.sessions.end(*row.account)
        elif seen is not None:
            self._service.sessions.renew(*row.account)
        if seen is not None:
            await self._service.custody.renew(*row.account)

    async def _look_after(self, row: CredentialRow) -> None:
        try:
            if row.status in GONE:
                await self._service.shred(row, actor=SYSTEM)
                return
            row = await self._finish(row)
            now = self._service.clock.now()
            until = row.previous.retire_at if row.previous else None
            if until is not None and until <= now:
                row = await self._rotation.retire(*row.account, actor=SYSTEM)
            if row.check_at is not None and row.check_at <= now:
                await self._validate(*row.account)
        except ServiceError as error:
            self._failed(row, error)
            await self._later(row)

    async def _finish(self, row: CredentialRow) -> CredentialRow:
        """Settle a submission that was cut off: its secret arrived, or it never will."""
        if row.incoming is None:
            return row
        settled = await self._rotation.settled(*row.account)
        if settled.incoming is None:
            return settled
        left = settled.incoming.version_id
        now = self._service.clock.now()

        def drop(newest: CredentialRow | None) -> CredentialRow:
            row = newest or settled
            if row.incoming is None or row.incoming.version_id != left:
                return row
            if row.current is not None:
                return self._service.scheduled(replace(row, incoming=None, changed_at=now))
            return _never_came(replace(row, incoming=None, changed_at=now))

        return await self._service.rows.change(*row.account, drop)

    async def _validate(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        row = await self._service.rows.get(tenant_id, exchange_id)
        if row is None or row.status in GONE:
            return
        try:
            await self._service.validate(tenant_id, exchange_id, actor=SYSTEM)
        except ServiceError as error:
            self._failed(row, error)
            if error.code != "CREDENTIAL_REFUSED":
                await self._later(row)

    async def _later(self, row: CredentialRow) -> None:
        at = self._service.clock.now() + RETRY
        try:
            await self._service.rows.change(
                *row.account, lambda now: replace(now or row, check_at=at)
            )
        except ServiceError as error:
            self._failed(row, error)

    async def _wait(self) -> None:
        alarm = asyncio.ensure_future(self._alarm.wait())
        pause = asyncio.ensure_future(self._service.clock.sleep(FOLLOW_S))
        try:
            await asyncio.wait((alarm, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            pause.cancel()

    def _failed(self, row: CredentialRow, error: ServiceError) -> None:
        self._service.log.warning(
            "credential looked after in vain",
            tenant_id=row.tenant_id,
            exchange_id=row.exchange_id,
            code=error.code,
            error=error.message,
        )


def _never_came(row: CredentialRow) -> CredentialRow:
    return replace(
        row,
        status=CredentialStatus.DELETED,
        problem="its secret never arrived; submit it again",
        check_at=row.changed_at,
    )
