"""The API as one ASGI application: the whole route table, the stream, and the edge around them."""

from functools import cache
from itertools import groupby
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from trading_platform.api import account, audit, credentials, kill_switch, orders, prices, system
from trading_platform.api.edge import Edge
from trading_platform.api.http import Dispatch
from trading_platform.api.openapi import document
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Nothing, Route
from trading_platform.api.stream import Stream
from trading_platform.kit.errors import ServiceError


async def openapi(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """The document of TABLE."""
    return Answer(_document(services.version))


TABLE: tuple[Route, ...] = (
    *orders.ROUTES,
    *prices.ROUTES,
    *kill_switch.ROUTES,
    *account.ROUTES,
    *credentials.ROUTES,
    *audit.ROUTES,
    *system.ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        operation="getOpenApi",
        handler=openapi,
        summary="This document",
        tag="system",
        permission=None,
        limit=Limit.NONE,
        answers={200: dict[str, Any]},
    ),
)
"""Every operation, in the order of the document."""


def build_app(services: Services, stream: Stream | None = None) -> Starlette:
    """The ASGI application of the API; `services` must be started and outlive it."""
    routes: list[BaseRoute] = [WebSocketRoute("/v1/stream", stream or Stream(services))]
    by_path = sorted(TABLE, key=lambda route: route.path)
    for path, group in groupby(by_path, key=lambda route: route.path):
        dispatch = Dispatch(services, {route.method: route for route in group})
        routes.append(HttpRoute(path, dispatch))
    app = Starlette(routes=routes, middleware=[Middleware(Edge, services)])
    app.router.redirect_slashes = False
    app.router.default = _nothing_here
    return app


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4404, "reason": "the stream is /v1/stream"})
        return
    raise ServiceError("There is nothing at this path; see /openapi.json.", "NOT_FOUND")


@cache
def _document(version: str) -> bytes:
    return msgspec.json.encode(document(TABLE, version))
