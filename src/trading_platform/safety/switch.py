"""The kill switch's rules.

1. Activation wins from any state. Each one that says something new takes a new epoch, so a release
   decided before it no longer fits.
2. Release needs the epoch that the releaser saw, and a reason. Nothing releases by itself.
3. Of two accounts of one switch the higher epoch holds. An account that lost epochs (restored from
   a backup) cannot release what was seen active.
4. Who cannot tell whether trading is halted treats it as halted.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from trading_platform.kit.errors import ServiceError

BOARD_AGE_S_MAX = 2.0
"""How old the newest reading of the truth may be when an order leaves."""

_WORDS_MAX = 500
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class ScopeKind(StrEnum):
    """How much one switch stops."""

    PLATFORM = "platform"
    EXCHANGE = "exchange"
    TENANT = "tenant"


class Scope(msgspec.Struct, frozen=True):
    """What a switch stops; `id` is empty for the platform."""

    kind: ScopeKind
    id: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else str(self.kind)


PLATFORM = Scope(ScopeKind.PLATFORM)


class SwitchState(msgspec.Struct, frozen=True, kw_only=True):
    """One switch as last changed; epoch 0 has never been touched."""

    scope: Scope
    active: bool
    epoch: int
    reason: str
    actor: str
    changed_at: datetime | None


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Why no order may be sent; `state` is None when nobody can tell."""

    message: str
    state: SwitchState | None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Every switch as this process knows it, and when it last read them all (monotonic s)."""

    states: Mapping[str, SwitchState] = {}
    read_at_s: float | None = None


def tenant_scope(tenant_id: str) -> Scope:
    """The switch of one tenant."""
    return Scope(ScopeKind.TENANT, tenant_id)


def exchange_scope(exchange_id: str) -> Scope:
    """The switch of one exchange."""
    return Scope(ScopeKind.EXCHANGE, str(exchange_id))


def parse_scope(text: str) -> Scope:
    """`platform`, `exchange:<id>` or `tenant:<id>`; raises INVALID_REQUEST."""
    kind, colon, name = text.partition(":")
    if text == ScopeKind.PLATFORM:
        return PLATFORM
    if colon and _ID.fullmatch(name) and kind in (ScopeKind.EXCHANGE, ScopeKind.TENANT):
        return Scope(ScopeKind(kind), name)
    raise ServiceError(
        f"{text[:60]!r} is no scope; write platform, exchange:BINANCE or tenant:<id>.",
        "INVALID_REQUEST",
    )


def untouched(scope: Scope) -> SwitchState:
    """A switch that nobody has used."""
    return SwitchState(scope=scope, active=False, epoch=0, reason="", actor="", changed_at=None)


def activated(state: SwitchState, *, reason: str, actor: str, now: datetime) -> SwitchState:
    """Halt. Saying the same again changes nothing; anything new takes the next epoch."""
    if state.active and (state.reason, state.actor) == (reason, actor):
        return state
    return _next(state, active=True, reason=reason, actor=actor, now=now)


def released(
    state: SwitchState, *, epoch: int, reason: str, actor: str, now: datetime
) -> SwitchState:
    """Let trade again; raises CONFLICT unless `epoch` is that of the active switch.

    The same release said again, after a lost answer, changes nothing.
    """
    again = (state.epoch - 1, state.reason, state.actor) == (epoch, reason, actor)
    if not state.active and state.epoch and again:
        return state
    if not state.active or state.epoch != epoch:
        is_now = "active" if state.active else "not active"
        raise ServiceError(
            f"The kill switch {state.scope} is {is_now} at epoch {state.epoch}, not active at the"
            f" epoch {epoch} given. Look at its reason, then decide again.",
            "CONFLICT",
            metadata={"scope": str(state.scope), "active": state.active, "epoch": state.epoch},
        )
    return _next(state, active=False, reason=reason, actor=actor, now=now)


def checked_words(reason: str, actor: str) -> None:
    """Raises INVALID_REQUEST unless both are there and short enough to keep."""
    for name, text in (("reason", reason), ("actor", actor)):
        if not text.strip() or len(text) > _WORDS_MAX:
            raise ServiceError(
                f"A kill switch needs a {name} of 1 to {_WORDS_MAX} characters.", "INVALID_REQUEST"
            )


def merged(seen: SwitchState | None, read: SwitchState) -> SwitchState:
    """What holds after reading `read` where `seen` was known (rule 3)."""
    if seen is None or read.epoch > seen.epoch:
        return read
    return seen if seen.active or not read.active else read


def learned(
    board: Board, states: Iterable[SwitchState], read_at_s: float | None = None
) -> tuple[Board, list[SwitchState]]:
    """The board after hearing of `states`, and those that are news to it.

    `read_at_s` is when the reading of all switches began; None when these are only some of them.
    """
    known = dict(board.states)
    news = []
    for state in states:
        seen = known.get(str(state.scope))
        now_holds = merged(seen, state)
        if now_holds is not seen:
            known[str(state.scope)] = now_holds
            if seen is not None or now_holds.epoch:
                news.append(now_holds)
    newest = max((at for at in (board.read_at_s, read_at_s) if at is not None), default=None)
    return Board(states=known, read_at_s=newest), news


def may_trade(board: Board, tenant_id: str, exchange_id: str, now_s: float) -> Denial | None:
    """None when an order of the tenant may go to the exchange now."""
    states = board.states
    for name in ("platform", f"exchange:{exchange_id}", f"tenant:{tenant_id}"):
        state = states.get(name)
        if state is not None and state.active:
            return Denial(message=f"Trading is halted ({name}): {state.reason}", state=state)
    if board.read_at_s is None or now_s - board.read_at_s > BOARD_AGE_S_MAX:
        return Denial(
            message="Trading is halted: the kill switches have not been readable for over"
            f" {BOARD_AGE_S_MAX:.0f} s, so nobody can tell whether one is active.",
            state=None,
        )
    return None


def halted_exchanges(board: Board) -> list[str]:
    """Ids of the exchanges whose switch is active."""
    return sorted(
        state.scope.id
        for state in board.states.values()
        if state.active and state.scope.kind is ScopeKind.EXCHANGE
    )


def _next(
    state: SwitchState, *, active: bool, reason: str, actor: str, now: datetime
) -> SwitchState:
    return SwitchState(
        scope=state.scope,
        active=active,
        epoch=state.epoch + 1,
        reason=reason,
        actor=actor,
        changed_at=now,
    )
