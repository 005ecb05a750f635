"""Kill switches in the audit log.

1. An activation is never delayed or refused by the log: its entry follows right after, is tried
   again when it fails, and is made up for at the next start and before the release.
2. A release and its entry are one transaction: without an entry nothing trades again.
3. However often an activation is written down, the log takes it once (`once` is its epoch).
"""

import asyncio
from functools import partial
from typing import Any, Protocol

from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s
from trading_platform.safety.store import WriteState
from trading_platform.safety.switch import ScopeKind, SwitchState
from trading_platform.storage.records import Put
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.audit_chain import PLATFORM_LOG, AuditAction

TRIES_MAX = 10
CLOSE_S = 2.0


class _Log(Protocol):
    def warning(self, event: str, **fields: Any) -> Any: ...


class SwitchRecord:
    """Writes down what happens to kill switches; with `audit` None, nothing."""

    def __init__(self, audit: AuditLog | None, log: _Log | None) -> None:
        self._audit = audit
        self._log = log
        self._writing: set[asyncio.Task[None]] = set()

    def soon(self, state: SwitchState) -> None:
        """Write an activation down without making anyone wait."""
        if self._audit is not None and state.active:
            task = asyncio.create_task(self._persist(self._audit, state))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    @property
    def release_writer(self) -> WriteState | None:
        """Makes a release durable together with its entry, after that of its activation."""
        return None if self._audit is None else partial(_write_release, self._audit)

    async def close(self) -> None:
        """Finish what is being written down, within CLOSE_S; a start does the rest."""
        if self._writing:
            _, late = await asyncio.wait(self._writing, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _persist(self, audit: AuditLog, state: SwitchState) -> None:
        for attempt in range(1, TRIES_MAX + 1):
            try:
                await _write_activation(audit, state)
            except ServiceError as error:
                self._warn(state, error, attempt)
                await asyncio.sleep(backoff_s(attempt, first_s=0.1, most_s=10.0))
            else:
                return

    def _warn(self, state: SwitchState, error: ServiceError, attempt: int) -> None:
        if self._log is not None:
            self._log.warning(
                "kill switch activation not in the audit log",
                scope=str(state.scope),
                epoch=state.epoch,
                attempt=attempt,
                error=error.message,
            )


def log_of(state: SwitchState) -> str:
    """Whose log a switch belongs in."""
    return state.scope.id if state.scope.kind is ScopeKind.TENANT else PLATFORM_LOG


async def _write_release(
    audit: AuditLog, before: SwitchState, wanted: SwitchState, put: Put
) -> None:
    if before.active:
        await _write_activation(audit, before)
    await audit.append(
        log_of(wanted),
        actor=wanted.actor,
        action=AuditAction.KILL_SWITCH_RELEASED,
        target=str(wanted.scope),
        details={"epoch": str(wanted.epoch), "reason": wanted.reason},
        along=[put],
    )


async def _write_activation(audit: AuditLog, state: SwitchState) -> None:
    changed_at = state.changed_at.isoformat() if state.changed_at else "unknown"
    await audit.append(
        log_of(state),
        actor=state.actor,
        action=AuditAction.KILL_SWITCH_ACTIVATED,
        target=str(state.scope),
        details={"epoch": str(state.epoch), "reason": state.reason, "activatedAt": changed_at},
        once=f"{state.scope}/{state.epoch}",
    )
