"""The simulated Coinbase Exchange: REST and WebSocket feed on one port of this machine.

`GET /` with an upgrade is the feed, everything else REST. All REST answers pass `gate`, the one
place where a fault can strike; its operations are named `POST /orders`, `GET /orders/{id}` ...

Not simulated, and refused rather than half done: stop and GTT orders, transfers, the level3,
balance, auction and RFQ channels. The full channel and the level 3 book know our own orders one by
one, the recorded market only as one order a price.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from trading_platform.kit.clock import Clock
from trading_platform.kit.tasks import Supervisor
from trading_platform.observability.logs import create_log
from trading_platform.simulation.coinbase_feed import CoinbaseFeed
from trading_platform.simulation.coinbase_limits import Buckets, Limits
from trading_platform.simulation.coinbase_orders import OrderDesk, Received
from trading_platform.simulation.coinbase_rest import Bucket, Call, CoinbaseRest, Route
from trading_platform.simulation.coinbase_security import ApiError, authenticate_request, require
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.gate import Answer, Gate
from trading_platform.simulation.model import SimKey

BODY_BYTES_MAX = 256 * 1024
CLOSE_WITHIN_S = 1.0


class CoinbaseServer:
    """Serves one SimulatedExchange. Port 0 takes a free one; `url` is known after `start`."""

    def __init__(
        self,
        exchange: SimulatedExchange,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        opening_delay_s: float = 0.005,
        log: Any = None,
    ) -> None:
        self._exchange = exchange
        self._host, self._port = host, port
        self._clock = clock
        self._limits = limits or Limits()
        self.gate = Gate(clock)
        self._desk = OrderDesk(
            exchange,
            lambda delay_s, run: asyncio.get_running_loop().call_later(delay_s, run),
            opening_delay_s=opening_delay_s,
            refused=self._refused,
        )
        self._feed = CoinbaseFeed(exchange, self._desk, self._limits)
        self._rest = CoinbaseRest(exchange, self._desk, self._feed.broadcast.sequence)
        self._buckets = {
            Bucket.PUBLIC: Buckets(self._limits.public),
            Bucket.PRIVATE: Buckets(self._limits.private),
            Bucket.FILLS: Buckets(self._limits.fills),
        }
        self._loops = Supervisor(log or create_log("simulated-coinbase"))
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """http://host:port; the feed is the same with ws://."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. With port 0 the system chooses one, which `url` then names."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/", self._root)
        for route in self._rest.routes():
            app.router.add_route(route.method, route.path, self._handler(route))
        app.router.add_route("*", "/{unknown:.*}", self._unknown)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._loops.start("coinbase heartbeats", self._feed.broadcast.run_heartbeats)
        self._loops.start("coinbase level2 batches", self._feed.broadcast.run_batches)
        self._loops.start("coinbase slow channels", self._feed.broadcast.run_slow_channels)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._loops.close()
        self._feed.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _refused(self, received: Received) -> None:
        self._feed.broadcast.refuse(received)

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._feed.serve(request)
        return await self._unknown(request)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return _to_response(Answer(status=404, body={"message": "NotFound"}))

    def _handler(self, route: Route) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            answer = await self.gate.respond(route.name, lambda: self._run(route, request, body))
            if answer is None:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            return _to_response(answer)

        return handle

    def _run(self, route: Route, request: web.Request, body: bytes) -> Answer:
        try:
            key = self._signer(route, request, body)
            self._spend(route, request, key)
            return route.run(
                Call(
                    path=dict(request.match_info),
                    query={name: request.query.getall(name) for name in request.query},
                    body=body,
                    key=key,
                )
            )
        except ApiError as refusal:
            return Answer(status=refusal.status, body={"message": refusal.message})

    def _signer(self, route: Route, request: web.Request, body: bytes) -> SimKey | None:
        if route.permission is None:
            return None
        key = authenticate_request(
            request.headers,
            request.method,
            request.raw_path,
            body,
            self._clock.time_ns() / 1e9,
            self._exchange.key,
        )
        require(key, route.permission)
        return key

    def _spend(self, route: Route, request: web.Request, key: SimKey | None) -> None:
        who = request.remote or "" if key is None else key.account_id
        if not self._buckets[route.bucket].take(who, self._clock.monotonic()):
            kind = "Public" if key is None else "Private"
            raise ApiError(429, f"{kind} rate limit exceeded")


def _to_response(answer: Answer) -> web.Response:
    if isinstance(answer.body, str) and answer.status >= 500:  # the edge's own page
        return web.Response(status=answer.status, text=answer.body, content_type="text/html")
    return web.Response(
        body=msgspec.json.encode(answer.body),
        status=answer.status,
        headers=dict(answer.headers),
        content_type="application/json",
        charset="utf-8",
    )
