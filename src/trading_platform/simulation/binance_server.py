"""The simulated Binance on one port: REST, market streams and WebSocket API, over real sockets."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from trading_platform.kit.clock import Clock
from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_account import Account
from trading_platform.simulation.binance_api import Operation, Venue, table
from trading_platform.simulation.binance_control import StreamSession
from trading_platform.simulation.binance_limits import Limits
from trading_platform.simulation.binance_market import MarketData
from trading_platform.simulation.binance_params import Params, merge
from trading_platform.simulation.binance_security import (
    Security,
    check_time,
    known_key,
    permit,
    rest_payload,
    verify,
)
from trading_platform.simulation.binance_sockets import Socket, SocketRules
from trading_platform.simulation.binance_streams import TICK_MS, StreamHub
from trading_platform.simulation.binance_trading import Orders
from trading_platform.simulation.binance_user import user_events
from trading_platform.simulation.binance_ws_api import ApiSession
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.gate import Answer, Gate
from trading_platform.simulation.model import SimEvent, SimKey

_BODY_BYTES_MAX = 64 * 1024


class BinanceServer:
    """Serves one SimulatedExchange. Port 0 takes a free one; `url` is known after `start`.

    `gate` is where faults strike; every answer passes it.
    """

    def __init__(
        self,
        exchange: SimulatedExchange,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        stream_rules: SocketRules | None = None,
        api_rules: SocketRules | None = None,
    ) -> None:
        self._host, self._port, self._clock = host, port, clock
        self._exchange = exchange
        self._venue = Venue(exchange, limits or Limits())
        self._stream_rules = stream_rules or SocketRules()
        self._api_rules = api_rules or SocketRules(messages_per_s=None)
        self.gate = Gate(clock)
        market = MarketData(self._venue)
        operations = [
            *market.operations(),
            *Orders(self._venue).operations(),
            *Account(self._venue).operations(),
        ]
        self._routes = table(operations)
        self._methods = {op.name: op for op in operations if not op.name.startswith(_NO_SOCKET)}
        self._hub = StreamHub(exchange, market)
        self._sessions: dict[ApiSession, None] = {}
        self._sockets: dict[Socket, StreamSession | None] = {}
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        exchange.listen(self._on_event)

    @property
    def url(self) -> str:
        """`http://host:port`; streams are at the same place with `ws://`."""
        return f"http://{self._host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """`ws://host:port`; streams at /ws and /stream, the WebSocket API at /ws-api/v3."""
        return f"ws://{self._host}:{self._port}"

    @property
    def connection_count(self) -> int:
        """Open WebSockets."""
        return len(self._sockets)

    @property
    def stream_count(self) -> int:
        """Market streams that somebody listens to."""
        return self._hub.stream_count

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_get("/ws-api/v3", self._serve_api)
        app.router.add_get("/ws", self._serve_stream)
        app.router.add_get("/ws/{streams:.*}", self._serve_stream)
        app.router.add_get("/stream", self._serve_stream)
        app.router.add_route("*", "/{path:.*}", self._serve_rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._ticker = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Stop listening and say goodbye to every connection."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await asyncio.gather(*(socket.finish() for socket in tuple(self._sockets)))
        if self._runner is not None:
            await self._runner.cleanup()

    def announce_shutdown(self) -> None:
        """Send `serverShutdown` on every connection, as before maintenance."""
        event = {"e": "serverShutdown", "E": self._clock.time_ns() // 1_000_000}
        for socket, session in self._sockets.items():
            if session is None:
                socket.send(msgspec.json.encode({"event": event}))
            elif session.combined:
                wrapped = {"stream": "!serverShutdown", "data": event}
                socket.send(msgspec.json.encode(wrapped))
            else:
                socket.send(msgspec.json.encode(event))

    def cut_connections(self) -> None:
        """Break every WebSocket without a goodbye."""
        for socket in tuple(self._sockets):
            socket.cut()

    # -- REST

    async def _serve_rest(self, request: web.Request) -> web.Response:
        raw_path, _, query = request.raw_path.partition("?")
        operation = self._routes.get((request.method, raw_path))
        if operation is None:
            return web.Response(status=404, text="<html><body>404 Not found</body></html>")
        body = "" if request.method == "GET" else (await request.read()).decode("latin-1")
        answer = await self.gate.respond(
            operation.name, lambda: self._execute(operation, request, query, body)
        )
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return _to_response(answer)

    def _execute(self, operation: Operation, request: web.Request, query: str, body: str) -> Answer:
        address = request.remote or ""
        try:
            values = merge(query, body)
        except errors.BinanceError as error:
            return Answer(status=error.status, body=error.body())
        unit = request.headers.get("X-MBX-TIME-UNIT", "").upper()
        params = Params(values, in_microseconds=unit == "MICROSECOND")
        api_key = request.headers.get("X-MBX-APIKEY")
        return self._venue.execute(
            operation,
            params,
            lambda: self._identify(operation, values, api_key, query, body),
            address,
        )

    def _identify(
        self,
        operation: Operation,
        values: dict[str, str],
        api_key: str | None,
        query: str,
        body: str,
    ) -> SimKey | None:
        if operation.security is Security.NONE:
            return None
        key = known_key(api_key, self._exchange.key)
        if operation.security.signed:
            check_time(values, self._clock.time_ns() / 1_000_000)
            payload, signature = rest_payload(query, body)
            if not verify(key, payload, signature):
                raise errors.bad_signature()
        permit(key, operation.security)
        return key

    # -- WebSockets

    async def _serve_stream(self, request: web.Request) -> web.StreamResponse:
        socket = Socket(self._clock, self._stream_rules)
        response = await socket.open(request)
        outlet = _Outlet(socket)
        combined = request.path == "/stream"
        session = outlet.session = StreamSession(self._hub, outlet, combined=combined)
        names = request.query.get("streams", "") if combined else request.match_info.get("streams")
        session.add(name for name in (names or "").split("/") if "@" in name)
        self._sockets[socket] = session
        try:
            async for frame in socket.messages():
                socket.send(msgspec.json.encode(session.control(frame)))
        finally:
            session.close()
            self._sockets.pop(socket, None)
            await socket.finish()
        return response

    async def _serve_api(self, request: web.Request) -> web.StreamResponse:
        socket = Socket(self._clock, self._api_rules)
        response = await socket.open(request)
        session = ApiSession(
            self._venue,
            self._methods,
            self.gate,
            request.remote or "",
            lambda event: socket.send(msgspec.json.encode(event)),
            limits_wanted=request.query.get("returnRateLimits", "true") != "false",
        )
        self._sockets[socket] = None
        self._sessions[session] = None
        try:
            async for frame in socket.messages():
                answer = await session.handle(frame)
                if answer is None:
                    socket.cut()
                    break
                socket.send(msgspec.json.encode(answer))
        finally:
            self._sessions.pop(session, None)
            self._sockets.pop(socket, None)
            await socket.finish()
        return response

    def _on_event(self, event: SimEvent) -> None:
        if not self._sessions:
            return
        told = user_events(event, lambda symbol: self._exchange.instruments[symbol].exchange_symbol)
        if told is not None:
            account_id, payloads = told
            for session in tuple(self._sessions):
                for payload in payloads:
                    session.tell(account_id, payload)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_MS / 1000)
            self._hub.tick()


class _Outlet:
    """Wraps stream events the way the connection asked for."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.session: StreamSession | None = None

    def offer(self, stream: str, payload: bytes) -> None:
        """Queue one event."""
        if self.session is not None and self.session.combined:
            payload = b'{"stream":"%s","data":%s}' % (stream.encode(), payload)
        self._socket.send(payload)


_NO_SOCKET = ("sapi.", "fapi.", "dapi.")


def _to_response(answer: Answer) -> web.Response:
    body: Any = answer.body
    if isinstance(body, str):
        return web.Response(status=answer.status, text=body, headers=dict(answer.headers))
    return web.Response(
        status=answer.status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        charset="utf-8",
        headers=dict(answer.headers),
    )
