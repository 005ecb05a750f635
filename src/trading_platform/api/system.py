"""What operators and machines ask: alive, ready, the document, the metrics. Open to all who can
reach the port, which is loopback unless chosen otherwise.
"""

import msgspec

from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Nothing, Route
from trading_platform.observability.health import Readiness


class Alive(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The process answers."""

    status: str
    version: str


async def healthz(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Alive."""
    return Answer(Alive(status="ok", version=services.version))


async def readyz(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """200 when work can be taken, else 503; each check says its own."""
    readiness = await services.health.readiness()
    return Answer(readiness, 200 if readiness.ready else 503)


async def metrics(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Prometheus text."""
    return Answer(services.metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        operation="getHealth",
        handler=healthz,
        summary="Whether the process answers",
        tag="system",
        permission=None,
        limit=Limit.NONE,
        answers={200: Alive},
    ),
    Route(
        method="GET",
        path="/readyz",
        operation="getReadiness",
        handler=readyz,
        summary="Whether work can be taken, check by check",
        tag="system",
        permission=None,
        limit=Limit.NONE,
        answers={200: Readiness, 503: Readiness},
    ),
    Route(
        method="GET",
        path="/metrics",
        operation="getMetrics",
        handler=metrics,
        summary="Metrics in the Prometheus text format",
        tag="system",
        permission=None,
        limit=Limit.NONE,
        answers={200: str},
        content_type="text/plain",
    ),
)
