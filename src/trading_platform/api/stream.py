"""WS /v1/stream: live prices and orders. Signed in by header or first message, within bounds."""

import asyncio
from contextlib import suppress

import msgspec
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from trading_platform.api.decode import bearer
from trading_platform.api.edge import visit_of
from trading_platform.api.ports import Services
from trading_platform.api.price_fan import PriceFan
from trading_platform.api.problems import problem_of, sentence
from trading_platform.api.session import Session
from trading_platform.api.stream_messages import Auth, Refused
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenBytes, HiddenText
from trading_platform.limits.limiter import LEASE_S
from trading_platform.observability.logs import log_context
from trading_platform.tenants.model import Caller, Permission

SIGN_IN_S = 5.0
RECHECK_S = 10.0
"""How often an open connection's key is looked at again and its lease renewed."""
STRANGERS_MAX = 100
"""Connections that may be open at once without having signed in."""
_CLOSE_CODES = {
    "NOT_AUTHENTICATED": 4401,
    "NOT_PERMITTED": 4403,
    "REQUEST_TOO_LARGE": 1009,
    "RATE_LIMIT_EXCEEDED": 4429,
    "INVALID_REQUEST": 1008,
}


class Stream:
    """The ASGI endpoint of all stream connections."""

    def __init__(
        self,
        services: Services,
        *,
        sign_in_s: float = SIGN_IN_S,
        recheck_s: float = RECHECK_S,
        unsure_s_max: float = LEASE_S,
    ) -> None:
        self._services = services
        self._fan = PriceFan(services.prices)
        self._sign_in_s = sign_in_s
        self._recheck_s = recheck_s
        self._unsure_s_max = unsure_s_max
        self._strangers = 0
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept(headers=[(b"x-correlation-id", _correlation(scope).encode())])
        try:
            await self._serve(socket)
        except ServiceError as error:
            await _part(socket, error)
        except WebSocketDisconnect:
            pass

    async def _serve(self, socket: WebSocket) -> None:
        key, caller = await self._sign_in(socket)
        visit_of(socket.scope).tenant_id = caller.tenant_id
        limiter = self._services.limiter
        lease = await limiter.lease_connection(caller.tenant_id, caller.tier)
        if lease is None:
            raise ServiceError(
                f"All connections that the tier {caller.tier} allows are open.",
                "RATE_LIMIT_EXCEEDED",
            )
        self._count(1)
        session = Session(self._services, self._fan, socket, caller)
        try:
            with log_context(tenant_id=caller.tenant_id):
                await session.run(self._watch(key, caller, lease))
        finally:
            self._count(-1)
            await asyncio.shield(session.close())
            with suppress(ServiceError):  # without a cache the lease ends by itself
                await asyncio.shield(limiter.release_connection(caller.tenant_id, lease))

    async def _sign_in(self, socket: WebSocket) -> tuple[str, Caller]:
        headers = dict(socket.scope["headers"])
        key = bearer(headers) if b"authorization" in headers else await self._first(socket)
        caller = await self._services.tenants.authenticate(key)
        if Permission.READ not in caller.permissions:
            raise ServiceError("This key lacks the permission READ.", "NOT_PERMITTED")
        return key, caller

    async def _first(self, socket: WebSocket) -> str:
        if self._strangers >= STRANGERS_MAX:
            raise ServiceError("Too many are signing in now.", "RATE_LIMIT_EXCEEDED")
        self._strangers += 1
        try:
            async with asyncio.timeout(self._sign_in_s):
                first = HiddenBytes(((await socket.receive()).get("text") or "").encode())
        except TimeoutError as error:
            raise ServiceError(
                f"No sign-in came within {self._sign_in_s:g} s.", "NOT_AUTHENTICATED"
            ) from error
        finally:
            self._strangers -= 1
        try:
            return HiddenText(msgspec.json.decode(first, type=Auth).api_key)
        except msgspec.DecodeError as error:
            said = sentence(error, {})
        raise ServiceError(  # not `from` the error, which quotes what was sent
            f'The first message must be {{"type": "auth", "apiKey": "..."}}: {said}',
            "NOT_AUTHENTICATED",
        )

    async def _watch(self, key: str, caller: Caller, lease: str) -> None:
        """End the connection when the key stops being good, or when for LEASE_S nobody can tell
        or the lease could not be renewed.
        """
        unsure_s = 0.0
        while True:
            await asyncio.sleep(self._recheck_s)
            try:
                await self._services.tenants.authenticate(key)
                await self._services.limiter.renew_connection(caller.tenant_id, caller.tier, lease)
                unsure_s = 0.0
            except ServiceError as error:
                unsure_s += self._recheck_s
                if not error.retryable or unsure_s >= self._unsure_s_max:
                    raise

    def _count(self, change: int) -> None:
        self._open += change
        self._services.metrics.record("StreamConnections", self._open)


def _correlation(scope: Scope) -> str:
    return visit_of(scope).correlation_id


async def _part(socket: WebSocket, error: ServiceError) -> None:
    """Say why, then close."""
    problem = problem_of(error, _correlation(socket.scope))
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(msgspec.json.encode([Refused(problem=problem)]).decode())
        reason = error.message.encode()[:120].decode(errors="ignore")
        await socket.close(_CLOSE_CODES.get(error.code, 1011), reason)
