"""Connections to the feed of the simulated Coinbase Exchange: log in, subscribe, and go.

Within one session frames leave in the order in which things happened. A session that does not read
is closed (ErrSlowConsume); nobody else waits for it.
"""

import asyncio
from collections.abc import Iterable

from aiohttp import WSMsgType, web

from trading_platform.simulation import coinbase_messages as messages
from trading_platform.simulation.coinbase_answers import Json
from trading_platform.simulation.coinbase_broadcast import Broadcast
from trading_platform.simulation.coinbase_limits import Buckets, Limits
from trading_platform.simulation.coinbase_orders import OrderDesk
from trading_platform.simulation.coinbase_security import LOGIN_PATH, ApiError, authenticate
from trading_platform.simulation.coinbase_session import Audience, Session
from trading_platform.simulation.coinbase_subscriptions import (
    FAILED,
    FeedError,
    Request,
    read_request,
    wanted,
    without,
)
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import SimKey

SUBSCRIBE_WITHIN_S = 5.0
LAST_WORDS_S = 0.5
"""How long an ending session may take to send what is queued."""
FRAME_BYTES_MAX = 64 * 1024
SUBSCRIPTIONS_MAX = 10
"""Per product, channel and account."""


class CoinbaseFeed:
    """All sessions of the feed, and the public tape of one exchange turned into frames."""

    def __init__(self, exchange: SimulatedExchange, desk: OrderDesk, limits: Limits) -> None:
        self._exchange = exchange
        self._desk = desk
        self._clock = exchange.clock
        self._sessions: dict[Session, None] = {}
        self._audience = Audience()
        self.broadcast = Broadcast(exchange, desk, self._audience)
        self._connections = Buckets(limits.connections)
        self._frames_in = Buckets(limits.feed_messages)

    def close(self) -> None:
        """End every session."""
        self.broadcast.close()
        for session in list(self._sessions):
            session.end()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A connection from its upgrade to its end."""
        address = request.remote or ""
        if not self._connections.take(address, self._clock.monotonic()):
            return web.json_response({"message": "Public rate limit exceeded"}, status=429)
        socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES_MAX, compress=False)
        await socket.prepare(request)
        session = Session(socket)
        self._sessions[session] = None
        writer = asyncio.create_task(session.write())
        try:
            await self._read(session, address)
        finally:
            self._forget(session)
            session.end()
            await asyncio.wait({writer}, timeout=LAST_WORDS_S)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
        return socket

    async def _read(self, session: Session, address: str) -> None:
        first_by_s: float | None = SUBSCRIBE_WITHIN_S
        while True:
            try:
                frame = await asyncio.wait_for(session.socket.receive(), first_by_s)
            except TimeoutError:
                return  # no subscription in time: disconnected without a word
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if not self._frames_in.take(address, self._clock.monotonic()):
                session.end(messages.error("ErrSlowRead", "Too many messages"))
                return
            if self._handle(session, frame.data):
                first_by_s = None

    def _handle(self, session: Session, text: bytes | str) -> bool:
        """Act on one frame; whether the session has a subscription now."""
        try:
            request = read_request(text)
            if request.logs_in:
                session.key = self._log_in(request)
            self._subscribe(session, request)
        except FeedError as refusal:
            session.send(messages.frame(messages.error(refusal.message, refusal.reason)))
        return bool(session.channels)

    def _log_in(self, request: Request) -> SimKey:
        try:
            key = authenticate(
                api_key=request.key or "",
                passphrase=request.passphrase or "",
                timestamp=str(request.timestamp),
                sign=request.signature or "",
                message=("GET", LOGIN_PATH, b""),
                now_s=self._clock.time_ns() / 1e9,
                find=self._exchange.key,
            )
        except ApiError as refusal:
            raise FeedError("Authentication Failed", refusal.message) from None
        self._desk.know(key.account_id)
        return key

    def _subscribe(self, session: Session, request: Request) -> None:
        products = self._exchange.by_exchange_symbol
        asked = wanted(request, products, logged_in=session.key is not None)
        before = session.channels
        if request.type == "unsubscribe":
            self._audience.set_channels(session, without(before, asked))
            session.send(messages.frame(messages.subscriptions(session.channels)))
            return
        self._check_count(session, asked)
        merged = {
            name: tuple(dict.fromkeys([*before.get(name, ()), *asked.get(name, ())]))
            for name in [*before, *(n for n in asked if n not in before)]
        }
        self._audience.set_channels(session, merged)
        session.send(messages.frame(messages.subscriptions(session.channels)))
        for name, product_ids in asked.items():
            self._greet(session, name, [p for p in product_ids if p not in before.get(name, ())])

    def _check_count(self, session: Session, asked: dict[str, tuple[str, ...]]) -> None:
        if session.key is None:
            return
        account_id = session.key.account_id
        for name, product_ids in asked.items():
            for product_id in product_ids:
                others = self._audience.count(name, product_id, account_id, but=session)
                if others >= SUBSCRIPTIONS_MAX:
                    raise FeedError(
                        FAILED["subscribe"],
                        f"at most {SUBSCRIPTIONS_MAX} subscriptions to {name} of {product_id}",
                    )

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session, None)
        self._audience.set_channels(session, {})

    def _greet(self, session: Session, name: str, product_ids: Iterable[str]) -> None:
        """What a channel tells a newcomer at once."""
        if name == "status":
            session.send(self.broadcast.status())
        for product_id in product_ids:
            for message in self._state(name, product_id):
                session.send(messages.frame(message))

    def _state(self, name: str, product_id: str) -> Iterable[Json]:
        instrument = self._exchange.by_exchange_symbol[product_id]
        book = self._exchange.book(instrument.symbol)
        last = self._exchange.tape(instrument.symbol).last
        if name in ("level2", "level2_batch"):
            yield messages.snapshot(instrument, book, self._clock.time_ns())
        elif last is not None and name == "matches":
            yield messages.match(
                last,
                self.broadcast.parties(last),
                self.broadcast.sequence(last.symbol),
                "last_match",
            )
        elif last is not None and name in ("ticker", "ticker_batch"):
            yield self.broadcast.ticker(last)
