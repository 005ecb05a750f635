"""/v1/kill-switch: a tenant stops its own trading, and releases it again."""

from datetime import datetime
from typing import Annotated

import msgspec

from trading_platform.api.fields import ReasonText, printable
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Nothing, Route
from trading_platform.safety.switch import ScopeKind, SwitchState, tenant_scope
from trading_platform.tenants.model import Caller, Permission


class Activate(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Stop all new orders of the caller's tenant."""

    reason: ReasonText


class Release(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Let the tenant trade again. `epoch` is the one that was looked at: if it moved, 409."""

    epoch: Annotated[int, msgspec.Meta(ge=0, le=2**53, description="the epoch seen in the status")]
    reason: ReasonText


class SwitchView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One switch that bears on the caller."""

    scope: str
    active: bool
    epoch: int
    reason: str
    actor: str
    changed_at: datetime | None


class SwitchList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every switch that bears on the caller; `halted` when one is active for all its exchanges."""

    halted: bool
    switches: tuple[SwitchView, ...]


def switch_view(state: SwitchState, caller: Caller) -> SwitchView:
    """A switch as its tenant sees it: who holds the others' keys is not its business."""
    own = state.scope == tenant_scope(caller.tenant_id)
    return SwitchView(
        scope=str(state.scope),
        active=state.active,
        epoch=state.epoch,
        reason=state.reason,
        actor=state.actor if own or not state.actor else "operator",
        changed_at=state.changed_at,
    )


async def get_status(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """What halts the caller."""
    states = await services.safety.status(call.caller.tenant_id)
    return Answer(
        SwitchList(
            halted=any(
                state.active and state.scope.kind is not ScopeKind.EXCHANGE for state in states
            ),
            switches=tuple(switch_view(state, call.caller) for state in states),
        )
    )


async def activate(services: Services, call: Call[Nothing, Activate]) -> Answer:
    """Always wins, at once."""
    caller = call.caller
    state = await services.safety.activate(
        tenant_scope(caller.tenant_id),
        reason=printable(call.body.reason, "reason"),
        actor=caller.key_id,
    )
    services.metrics.record("KillSwitchActivations", tenant_id=caller.tenant_id)
    return Answer(switch_view(state, caller))


async def release(services: Services, call: Call[Nothing, Release]) -> Answer:
    """Only what was seen can be released."""
    state = await services.safety.release(
        tenant_scope(call.caller.tenant_id),
        epoch=call.body.epoch,
        reason=printable(call.body.reason, "reason"),
        actor=call.caller.key_id,
    )
    return Answer(switch_view(state, call.caller))


ROUTES = (
    Route(
        method="GET",
        path="/v1/kill-switch",
        operation="getKillSwitch",
        handler=get_status,
        summary="The kill switches that bear on you",
        tag="kill switch",
        permission=Permission.READ,
        answers={200: SwitchList},
    ),
    Route(
        method="POST",
        path="/v1/kill-switch/activate",
        operation="activateKillSwitch",
        handler=activate,
        summary="Stop all new orders of your tenant at once; cancels still pass",
        tag="kill switch",
        permission=Permission.HALT,
        limit=Limit.STOPPING,
        body=Activate,
        answers={200: SwitchView},
        example={"reason": "The strategy misbehaves."},
    ),
    Route(
        method="POST",
        path="/v1/kill-switch/release",
        operation="releaseKillSwitch",
        handler=release,
        summary="Let your tenant trade again, if nothing changed since you looked",
        tag="kill switch",
        permission=Permission.RELEASE,
        body=Release,
        answers={200: SwitchView},
        errors=("CONFLICT",),
        example={"epoch": 1, "reason": "The strategy is fixed."},
    ),
)
