"""/v1/audit: what was done to a tenant's keys, credentials and switches, and by whom."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from trading_platform.api.fields import given
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Nothing, Route
from trading_platform.tenants.audit_chain import AuditEntry, moment
from trading_platform.tenants.model import Permission

PAGE_DEFAULT, PAGE_MAX = 50, 200
SEQUENCE_MAX = 10**12 - 1


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page."""

    limit: Annotated[
        int, msgspec.Meta(ge=1, le=PAGE_MAX, description=f"entries a page, 1 to {PAGE_MAX}")
    ] = PAGE_DEFAULT
    after: (
        Annotated[
            int, msgspec.Meta(ge=1, le=SEQUENCE_MAX, description="the `after` of the page before")
        ]
        | UnsetType
    ) = UNSET


class AuditEntryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry. `hash` is SHA-256 over the other fields as JSON with sorted keys and no spaces;
    `previousHash` is that of the entry before.
    """

    version: int
    tenant_id: str
    sequence: int
    at: Annotated[
        str,
        msgspec.Meta(description="UTC with microseconds", examples=["2026-01-01T00:00:00.000000Z"]),
    ]
    actor: str
    action: str
    target: str
    details: Mapping[str, str]
    previous_hash: str
    hash: str


class AuditPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The newest entries first; `after` leads to older ones, null when there are none."""

    entries: tuple[AuditEntryView, ...]
    after: int | None


async def list_entries(services: Services, call: Call[AuditQuery, Nothing]) -> Answer:
    """The caller's own log only: nothing in the request names another."""
    found, after = await services.audit.latest(
        call.caller.tenant_id, before=given(call.query.after), limit=call.query.limit
    )
    return Answer(AuditPage(entries=tuple(map(_view, found)), after=after))


def _view(entry: AuditEntry) -> AuditEntryView:
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return AuditEntryView(**{**fields, "at": moment(entry.at)})


ROUTES = (
    Route(
        method="GET",
        path="/v1/audit",
        operation="listAuditEntries",
        handler=list_entries,
        summary="Who did what to your keys, credentials and kill switch, newest first",
        tag="account",
        permission=Permission.ADMIN,
        query=AuditQuery,
        answers={200: AuditPage},
    ),
)
