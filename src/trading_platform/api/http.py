"""One request on its way through: who, may they, within their budget, what exactly, done.

The order is fixed: key -> tenant -> permission -> one Valkey round trip -> body -> handler. For
orders the body comes before the round trip, since the answer depends on the exchange named in it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from trading_platform.api.decode import Decoder, bearer, check_path, idempotency_key, read_body
from trading_platform.api.edge import visit_of
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Route
from trading_platform.kit.errors import ServiceError
from trading_platform.limits.limiter import Admission
from trading_platform.observability.logs import log_context
from trading_platform.tenants.model import Caller

_NO_ORDERS_NOW = frozenset({"TRADING_HALTED", "PROVIDER_UNAVAILABLE", "STORAGE_UNAVAILABLE"})
"""Refusals of new orders that say nothing against reading what became of an earlier one."""

STOPPING_AT_ONCE_MAX = 8
"""Stopping requests of one tenant that run at once beyond its budget."""


class Dispatch:
    """The ASGI endpoint of one path: its routes by method."""

    def __init__(self, services: Services, routes: Mapping[str, Route]) -> None:
        self._services = services
        self._routes = dict(routes)
        if "GET" in self._routes:
            self._routes["HEAD"] = self._routes["GET"]
        self._decoders = {
            method: Decoder(route.query, route.body) for method, route in self._routes.items()
        }
        self._stopping: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted(self._routes))
            visit_of(scope).headers["Allow"] = allowed
            raise ServiceError(
                f"{scope['method']} is not possible here; {allowed} is.", "METHOD_NOT_ALLOWED"
            )
        visit_of(scope).operation = route.operation
        answer = await self._answer(route, scope, receive)
        await send_answer(answer, send)

    async def _answer(self, route: Route, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        if route.permission is None:
            call = await self._parse(route, scope, receive, headers, None)
            return await route.handler(self._services, call)
        caller = await self._sign_in(route, scope, headers)
        with log_context(tenant_id=caller.tenant_id):
            if route.limit is Limit.STOPPING:
                return await self._stop(route, scope, receive, headers, caller)
            call = await self._within_budget(route, scope, receive, headers, caller)
            return await route.handler(self._services, call)

    async def _within_budget(
        self,
        route: Route,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        caller: Caller,
    ) -> Call[Any, Any]:
        if route.limit is not Limit.ORDER:
            await self._spend_request(scope, caller)
            return await self._parse(route, scope, receive, headers, caller)
        try:
            call = await self._parse(route, scope, receive, headers, caller)
        except ServiceError:
            await self._spend_request(scope, caller)  # bad orders are not free
            raise
        try:
            await self._spend_order(scope, caller, call)
        except ServiceError as refusal:
            if refusal.code not in _NO_ORDERS_NOW or route.repeats is None:
                raise
            await self._spend_request(scope, caller)  # the refusal was free, the reading is not
            if not await route.repeats(self._services, call):
                raise
        return call

    async def _sign_in(self, route: Route, scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
        caller = await self._services.tenants.authenticate(bearer(headers))
        visit_of(scope).tenant_id = caller.tenant_id
        if route.permission is not None and route.permission not in caller.permissions:
            raise ServiceError(
                f"This key lacks the permission {route.permission}.", "NOT_PERMITTED"
            )
        return caller

    async def _spend_request(self, scope: Scope, caller: Caller) -> None:
        admission = await self._services.limiter.admit_request(caller.tenant_id, caller.tier)
        self._show(scope, admission)
        if not admission.allowed:
            raise self._limited(caller, admission)

    async def _spend_order(self, scope: Scope, caller: Caller, call: Call[Any, Any]) -> None:
        exchange_id = call.body.exchange_id
        try:
            admission = await self._services.safety.admit_order(
                caller.tenant_id, caller.tier, exchange_id
            )
        except ServiceError as error:
            if error.code == "RATE_LIMIT_EXCEEDED":
                self._count_limited(caller, str(error.metadata.get("limitedBy")))
            raise
        self._show(scope, admission)

    async def _stop(
        self,
        route: Route,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        caller: Caller,
    ) -> Answer:
        """Run a route that must work whatever the budget; only the number at once is bounded."""
        tenant_id = caller.tenant_id
        try:
            await self._spend_request(scope, caller)
        except ServiceError as error:
            if self._stopping[tenant_id] >= STOPPING_AT_ONCE_MAX:
                raise
            self._services.log.warning(
                "stopping beyond the budget", operation=route.operation, reason=error.code
            )
        self._stopping[tenant_id] += 1
        try:
            call = await self._parse(route, scope, receive, headers, caller)
            return await route.handler(self._services, call)
        finally:
            self._stopping[tenant_id] -= 1
            if not self._stopping[tenant_id]:
                del self._stopping[tenant_id]

    async def _parse(
        self,
        route: Route,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        caller: Caller | None,
    ) -> Call[Any, Any]:
        decoder = self._decoders[scope["method"]]
        path = scope["path_params"]
        check_path(path)
        key = idempotency_key(headers) if route.idempotent else ""
        query = decoder.query(scope["query_string"])
        raw = await read_body(scope, receive, headers) if route.has_body else b"{}"
        return Call(
            path=path,
            query=query,
            body=decoder.body(raw),
            idempotency_key=key,
            correlation_id=visit_of(scope).correlation_id,
            signed_in=caller,
        )

    def _show(self, scope: Scope, admission: Admission) -> None:
        visit_of(scope).headers.update(rate_headers(admission))

    def _limited(self, caller: Caller, admission: Admission) -> ServiceError:
        limit = str(admission.limited_by or "requests")
        self._count_limited(caller, limit)
        return ServiceError(
            f"The tier {caller.tier} allows {admission.limit} {limit} a minute.",
            "RATE_LIMIT_EXCEEDED",
            metadata={"retryAfter": admission.retry_after_s, "limitedBy": limit},
        )

    def _count_limited(self, caller: Caller, limit: str) -> None:
        self._services.metrics.record("RequestsLimited", tenant_id=caller.tenant_id, limit=limit)


def rate_headers(admission: Admission) -> dict[str, str]:
    """RateLimit-Limit, -Remaining and -Reset (whole seconds)."""
    return {
        "RateLimit-Limit": str(admission.limit),
        "RateLimit-Remaining": str(max(0, admission.remaining)),
        "RateLimit-Reset": str(max(0, math.ceil(admission.reset_s))),
    }


async def send_answer(answer: Answer, send: Send) -> None:
    """Send `answer` whole."""
    value = answer.value
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), text.encode()) for name, text in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
