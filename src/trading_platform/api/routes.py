"""What one row of the route table says. Dispatch, the OpenAPI document and the isolation tests all
read the same rows.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from trading_platform.api.ports import Services
from trading_platform.tenants.model import Caller, Permission

Query = TypeVar("Query")
Body = TypeVar("Body")


class Limit(StrEnum):
    """Which budget a request spends."""

    NONE = "none"
    REQUEST = "requests"
    ORDER = "orders"
    """Requests and orders, the kill switch and the permit, in one round trip."""
    STOPPING = "stopping"
    """Counted as a request but not refused for the budget, nor when the limiter is down: a tenant
    that asked too often, or a broken cache, must not keep anyone from stopping.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Query, Body]):
    """One request, parsed: what a handler works with."""

    path: Mapping[str, str]
    query: Query
    body: Body
    idempotency_key: str
    correlation_id: str
    signed_in: Caller | None

    @property
    def caller(self) -> Caller:
        """Who asks; routes with a permission always have one."""
        if self.signed_in is None:
            raise AssertionError("this route is open to everyone")
        return self.signed_in


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler says: a value to encode, or ready bytes of `content_type`."""

    value: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Services, Call[Any, Any]], Awaitable[Answer]]
Repeats = Callable[[Services, Call[Any, Any]], Awaitable[bool]]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters, or no body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `permission` None: open to everyone. `answers`: status -> type of the body."""

    method: str
    path: str
    operation: str
    handler: Handler
    summary: str
    tag: str
    permission: Permission | None
    answers: Mapping[int, Any]
    limit: Limit = Limit.REQUEST
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] = Nothing
    idempotent: bool = False
    """Whether the caller must name the intent with an Idempotency-Key header."""
    repeats: Repeats | None = None
    """Whether a call only repeats an intent that stands already: then its answer can be read, and
    nothing new can come of it, also while no order is admitted.
    """
    errors: tuple[str, ...] = ()
    """Codes beyond those that every such route can answer."""
    example: Mapping[str, Any] | None = None
    """A body that works."""
    content_type: str = "application/json"

    @property
    def has_body(self) -> bool:
        """Whether a JSON body is read."""
        return self.body is not Nothing
