"""The outermost layer: a correlation id, one log line and one measurement for every request, and a
problem document for every error, foreseen or not.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from uuid import uuid4

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trading_platform.api.ports import Services
from trading_platform.api.problems import CONTENT_TYPE, problem_of, unexpected
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenBytes
from trading_platform.observability.logs import log_context

_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")
_VISIT = "trading_platform.visit"
_CREDENTIALS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Visit:
    """What becomes known of one request while it is answered."""

    __slots__ = ("correlation_id", "headers", "operation", "status", "tenant_id")

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.operation = "none"
        self.tenant_id: str | None = None
        self.status = 0
        self.headers: dict[str, str] = {"X-Correlation-Id": correlation_id, **_SECURITY}


def visit_of(scope: Scope) -> Visit:
    """The visit that the edge opened for this request."""
    visit: Visit = scope[_VISIT]
    return visit


def correlation_id_of(scope: Scope, new_id: Callable[[], object] = uuid4) -> str:
    """The caller's X-Correlation-Id when it is 8 to 64 plain characters, else a new UUID."""
    given = dict(scope["headers"]).get(b"x-correlation-id", b"").decode("latin-1")
    return given if _SANE.fullmatch(given) else str(new_id())


class Edge:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        _hide(scope)
        visit = scope[_VISIT] = Visit(correlation_id_of(scope))
        with log_context(correlation_id=visit.correlation_id):
            answer = self._stream if scope["type"] == "websocket" else self._http
            await answer(visit, scope, receive, send)

    async def _stream(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        visit.operation = "stream"
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self._services.log.error("unexpected error", operation="stream", exc_info=error)
            with suppress(OSError, RuntimeError):  # it may be closed already
                await send({"type": "websocket.close", "code": 1011})
        finally:
            self._say("stream ended", visit, scope, perf_counter() - started)

    async def _http(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                extra = [(n.lower().encode(), v.encode()) for n, v in visit.headers.items()]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except (ServiceError, HTTPException) as error:
            await self._refuse(_as_service_error(error), visit, send_marked)
        except Exception as error:
            self._services.log.error("unexpected error", operation=visit.operation, exc_info=error)
            if visit.status:  # too late for another answer: uvicorn closes the connection
                raise
            await self._refuse(unexpected(), visit, send_marked)
        finally:
            self._finish(visit, scope, perf_counter() - started)

    async def _refuse(self, error: ServiceError, visit: Visit, send: Send) -> None:
        problem = problem_of(error, visit.correlation_id)
        if problem.retry_after is not None:
            visit.headers["Retry-After"] = str(problem.retry_after)
        if problem.status == 401:
            visit.headers["WWW-Authenticate"] = "Bearer"
        body = msgspec.json.encode(problem)
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _finish(self, visit: Visit, scope: Scope, took_s: float) -> None:
        self._services.metrics.record(
            "HttpRequestLatency", took_s, operation=visit.operation, status=str(visit.status)
        )
        self._say("answered", visit, scope, took_s, method=scope["method"], status=visit.status)

    def _say(
        self, event: str, visit: Visit, scope: Scope, took_s: float, **fields: str | int
    ) -> None:
        if visit.tenant_id is not None:
            fields["tenant_id"] = visit.tenant_id
        self._services.log.info(
            event,
            service="api",
            operation=visit.operation,
            duration_ms=round(took_s * 1000, 3),
            path=scope["path"],
            **fields,
        )


def _hide(scope: Scope) -> None:
    """Credentials in the request are dots in every traceback, also in those of the server and the
    framework, which hold the same scope.
    """
    scope["query_string"] = HiddenBytes(scope["query_string"])
    scope["headers"] = [
        (name, HiddenBytes(value) if name in _CREDENTIALS else value)
        for name, value in scope["headers"]
    ]


def _as_service_error(error: ServiceError | HTTPException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if error.status_code == 404:
        return ServiceError("There is nothing at this path; see /openapi.json.", "NOT_FOUND")
    return ServiceError(str(error.detail), "INVALID_REQUEST")
