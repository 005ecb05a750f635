"""The kill switch at work: admits orders, stops them at once, and fails closed.

1. The truth is in the records. An activation is durable before `activate` returns, and this process
   refuses from the moment it was asked.
2. An order is admitted only with a permit issued from a reading of the truth at most 2 s old.
3. An order leaves only while this process has read the truth within 2 s (`may_send`).
4. What the cache loses, invents or remembers wrongly can refuse an order, never allow one.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from trading_platform.cache.link import Link
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s
from trading_platform.limits.limiter import Admission, Limiter
from trading_platform.market.instruments import ExchangeId
from trading_platform.safety.arriving import Arriving
from trading_platform.safety.permits import Permits
from trading_platform.safety.record import SwitchRecord
from trading_platform.safety.store import SwitchStore
from trading_platform.safety.switch import (
    PLATFORM,
    Scope,
    ScopeKind,
    SwitchState,
    activated,
    checked_words,
    exchange_scope,
    may_trade,
    released,
    tenant_scope,
    untouched,
)
from trading_platform.safety.truth import Truth
from trading_platform.storage.records import Records
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.model import Tier

CHANNEL = "kill-switch-changed"

_READ_S = 1.0
_WRITE_S = 5.0
_SPREAD_S = 1.0
_KNOWN_S = 60.0
_KNOWN_MAX = 10_000

Subscribe = Callable[[str], AsyncIterator[bytes | None]]


class _Log(Protocol):
    def warning(self, event: str, **fields: Any) -> Any: ...


class SafetyService:
    """May this tenant trade on this exchange now?"""

    def __init__(
        self,
        records: Records,
        link: Link,
        limiter: Limiter,
        bus: Bus,
        clock: Clock,
        *,
        log: _Log | None = None,
        subscribe: Subscribe | None = None,
        audit: AuditLog | None = None,
        poll_s: float = 0.5,
    ) -> None:
        """`subscribe` (CacheService.subscribe) makes changes by other processes arrive at once
        instead of with the next poll. `audit` is where they are written down.
        """
        self._store = SwitchStore(records, read_s=_READ_S, write_s=_WRITE_S)
        self._link = link
        self._limiter = limiter
        self._permits = Permits(link)
        self._truth = Truth(self._store, self._permits, bus, clock, self._revoke)
        self._clock = clock
        self._log = log
        self._record = SwitchRecord(audit, log)
        self._subscribe = subscribe
        self._poll_s = poll_s
        self._arriving = Arriving(self._warn)
        self._halting: set[asyncio.Task[SwitchState]] = set()
        self._known: OrderedDict[str, float] = OrderedDict()
        self._nudge = asyncio.Event()

    async def load(self) -> None:
        """Read the truth once before anything trades; raises STORAGE_UNAVAILABLE."""
        await self._truth.refresh()
        for state in self._truth.board.states.values():
            self._record.soon(state)  # of a process that died between the two

    async def close(self) -> None:
        """Finish writing down what has happened."""
        await self._arriving.close()
        await self._record.close()

    async def run(self) -> None:
        """Follow the truth and renew permits until cancelled; run it in a Supervisor loop."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._poll())
            if self._subscribe is not None:
                loops.create_task(self._follow(self._subscribe))

    async def admit_order(self, tenant_id: str, tier: Tier, exchange_id: str) -> Admission:
        """Spend one request and one order, or raise: TRADING_HALTED, RATE_LIMIT_EXCEEDED with
        `retryAfter` (s), or STORAGE_UNAVAILABLE and PROVIDER_UNAVAILABLE when nobody can tell.

        One round trip; a second and a reading of the truth when there is no permit.
        """
        self._refuse_if_known_halted(tenant_id, exchange_id)
        answer = await self._limiter.admit_order(tenant_id, tier, exchange_id)
        self._know(tenant_id)
        if answer.admission is None:
            await self._permit(tenant_id, exchange_id)
            answer = await self._limiter.admit_order(tenant_id, tier, exchange_id)
        if answer.admission is None:
            raise _halted(
                "Trading is halted: no permit could be had from the cache, which may remember a"
                " later activation than the records do. Activate and release the switch to settle"
                " it.",
                None,
            )
        if not answer.admission.allowed:
            raise _limited(answer.admission)
        return answer.admission

    def may_send(self, tenant_id: str, exchange_id: str) -> None:
        """Raise TRADING_HALTED unless an order may leave this instant. Looks at memory only."""
        self._refuse_if_arriving(tenant_id, exchange_id)
        denial = may_trade(self._truth.board, tenant_id, exchange_id, self._clock.monotonic())
        if denial is not None:
            raise _halted(denial.message, denial.state)

    async def activate(self, scope: Scope, *, reason: str, actor: str) -> SwitchState:
        """Halt the scope: durable when this returns, refused here from the first moment.

        Raises STORAGE_UNAVAILABLE when it could not be made durable; it is refused here all the
        same, and goes on being written until it is.
        """
        checked_words(reason, actor)
        self._arriving.begin(scope)
        halting = asyncio.create_task(self._activate(scope, reason, actor))
        self._halting.add(halting)
        halting.add_done_callback(self._halting.discard)
        # A caller that goes away does not take its activation back.
        return await asyncio.shield(halting)

    async def release(self, scope: Scope, *, epoch: int, reason: str, actor: str) -> SwitchState:
        """Let the scope trade again; raises CONFLICT unless `epoch` is that of its activation."""
        checked_words(reason, actor)
        now = self._clock.now()

        def decide(stored: SwitchState) -> SwitchState:
            latest = self._truth.latest(stored)
            return released(latest, epoch=epoch, reason=reason, actor=actor, now=now)

        state = await self._store.change(scope, decide, self._record.release_writer)
        self._truth.learn([state])
        await self._spread(state)
        return state

    async def status(self, tenant_id: str) -> list[SwitchState]:
        """The switches that bear on a tenant, freshly read: platform, each exchange, its own."""
        await self._truth.refresh()
        scopes = (PLATFORM, *map(exchange_scope, ExchangeId), tenant_scope(tenant_id))
        return [self._truth.board.states.get(str(scope), untouched(scope)) for scope in scopes]

    async def _activate(self, scope: Scope, reason: str, actor: str) -> SwitchState:
        now = self._clock.now()

        def decide(stored: SwitchState) -> SwitchState:
            return activated(self._truth.latest(stored), reason=reason, actor=actor, now=now)

        async def write() -> SwitchState:
            state = await self._store.change(scope, decide)
            self._truth.learn([state])
            self._record.soon(state)
            return state

        async def write_late() -> None:
            await self._spread(await write())

        try:
            state = await write()
        except ServiceError as error:
            self._arriving.insist(scope, write_late)
            raise ServiceError(
                f"{error.message} Nothing new is sent from here all the same, and writing it is"
                " tried again until it succeeds or this process ends.",
                error.code,
                metadata=error.metadata,
            ) from error
        self._arriving.end(scope)
        await self._spread(state)
        return state

    async def _poll(self) -> None:
        while True:
            self._nudge.clear()  # before reading: what comes meanwhile asks for another reading
            try:
                await self._truth.refresh()
                if self._truth.read_at_us is not None:
                    await self._permits.issue(
                        self._busy(), self._truth.board, self._truth.read_at_us
                    )
            except ServiceError as error:  # the board ages, and soon nothing is sent any more
                self._warn("kill switches not followed", error)
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._nudge.wait()
            except TimeoutError:
                continue

    async def _follow(self, subscribe: Subscribe) -> None:
        failures = 0
        while True:
            try:
                async for _ in subscribe(CHANNEL):
                    failures = 0
                    self._nudge.set()
            except ServiceError as error:
                self._warn("kill switch channel lost", error)
            failures += 1
            await asyncio.sleep(backoff_s(failures, first_s=0.1, most_s=2.0))

    async def _permit(self, tenant_id: str, exchange_id: str) -> None:
        await self._truth.refresh()
        self._refuse_if_known_halted(tenant_id, exchange_id)
        if self._truth.read_at_us is not None:
            await self._permits.issue([tenant_id], self._truth.board, self._truth.read_at_us)

    def _refuse_if_known_halted(self, tenant_id: str, exchange_id: str) -> None:
        """Like `may_send`, but a board that has only grown old may still be read anew."""
        self._refuse_if_arriving(tenant_id, exchange_id)
        denial = may_trade(self._truth.board, tenant_id, exchange_id, self._clock.monotonic())
        if denial is not None and denial.state is not None:
            raise _halted(denial.message, denial.state)

    def _refuse_if_arriving(self, tenant_id: str, exchange_id: str) -> None:
        name = self._arriving.covers(tenant_id, exchange_id)
        if name is not None:
            raise _halted(f"Trading is being halted ({name}).", None)

    async def _spread(self, state: SwitchState) -> None:
        """Tell the cache and the other processes. The truth stands already, so a failure here only
        means that they learn of it by reading, within 2 s.
        """
        try:
            async with asyncio.timeout(_SPREAD_S):
                if state.active:
                    await self._permits.revoke(self._concerned(state), state)
                elif state.scope.kind is ScopeKind.TENANT:
                    await self._permits.mirror(state.scope.id, state)
                await self._link.call("PUBLISH", CHANNEL, str(state.scope))
        except (ServiceError, TimeoutError) as error:
            self._warn("kill switch not spread", error)

    async def _revoke(self, halted: Sequence[SwitchState]) -> None:
        try:
            async with asyncio.timeout(_SPREAD_S):
                for state in halted:
                    await self._permits.revoke(self._concerned(state), state)
        except (ServiceError, TimeoutError) as error:
            self._warn("permits not revoked", error)

    def _concerned(self, state: SwitchState) -> list[str]:
        if state.scope.kind is ScopeKind.TENANT:
            return [state.scope.id]
        return list(self._known)

    def _know(self, tenant_id: str) -> None:
        self._known[tenant_id] = self._clock.monotonic()
        self._known.move_to_end(tenant_id)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _busy(self) -> list[str]:
        """Tenants that ordered within a minute; the others' permits may run out."""
        since = self._clock.monotonic() - _KNOWN_S
        while self._known and next(iter(self._known.values())) < since:
            self._known.popitem(last=False)
        return list(self._known)

    def _warn(self, event: str, error: Exception) -> None:
        if self._log is not None:
            self._log.warning(event, error=str(error) or repr(error))


def _halted(message: str, state: SwitchState | None) -> ServiceError:
    known = {"scope": str(state.scope), "epoch": state.epoch} if state else {}
    return ServiceError(message, "TRADING_HALTED", metadata=known)


def _limited(admission: Admission) -> ServiceError:
    retry_after = max(1, math.ceil(admission.retry_after_s))
    return ServiceError(
        f"The tier allows {admission.limit} {admission.limited_by} a minute; the next is free in"
        f" {retry_after} s.",
        "RATE_LIMIT_EXCEEDED",
        metadata={
            "retryAfter": retry_after,
            "limitedBy": admission.limited_by,
            "limit": admission.limit,
            "remaining": admission.remaining,
            "reset": math.ceil(admission.reset_s),
        },
    )
