"""One signed-in connection of the stream: it reads what is asked, and writes what waits."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from trading_platform.api.edge import visit_of
from trading_platform.api.order_views import order_view
from trading_platform.api.outbox import Outbox
from trading_platform.api.ports import Services
from trading_platform.api.price_fan import PriceFan
from trading_platform.api.prices import known
from trading_platform.api.problems import problem_of, sentence
from trading_platform.api.server import STREAM_MESSAGE_BYTES_MAX
from trading_platform.api.stream_messages import (
    SYMBOLS_MAX,
    Ask,
    Auth,
    OpenOrders,
    OrderSaid,
    Refused,
    Subscribe,
    Subscribed,
    Unsubscribed,
    Welcome,
)
from trading_platform.kit.bus import Subscription
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenBytes
from trading_platform.market.events import OrderChanged
from trading_platform.tenants.model import Caller

TICK_S = 0.02
SEND_S = 20.0
"""How long one frame may wait for a reader that takes nothing."""
ASKS_MAX = 20
ASKS_WINDOW_S = 10.0
SNAPSHOT_ORDERS_MAX = 200

_decode_ask = msgspec.json.Decoder(Ask).decode


class Session:
    """Runs until the client leaves, the watch ends it, or a bound is broken (ServiceError)."""

    def __init__(
        self, services: Services, fan: PriceFan, socket: WebSocket, caller: Caller
    ) -> None:
        self._services = services
        self._fan = fan
        self._socket = socket
        self._caller = caller
        self._outbox = Outbox()
        self._symbols: set[str] = set()
        self._asked_at: deque[float] = deque(maxlen=ASKS_MAX)
        self._facts: Subscription | None = None
        self._facts_wanted = asyncio.Event()
        self._snapshot: dict[str, datetime] = {}

    async def run(self, watch: Coroutine[Any, Any, None]) -> None:
        """Serve; the first of reading, writing, following and watching that ends, ends all."""
        self._say(Welcome(tenant_id=self._caller.tenant_id))
        parts = (watch, self._read(), self._write(), self._follow_orders())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def close(self) -> None:
        """Hear nothing any more."""
        if self._facts is not None:
            self._facts.close()
        for symbol in list(self._symbols):
            await self._fan.detach(symbol, self._outbox)
        skipped = self._outbox.skipped_total
        if skipped:
            self._services.metrics.record("StreamFramesSkipped", skipped)

    async def _read(self) -> None:
        while True:
            text = await self._next()
            self._check_rate()
            if text is None or len(text) > STREAM_MESSAGE_BYTES_MAX:
                raise ServiceError(
                    f"Send JSON text of at most {STREAM_MESSAGE_BYTES_MAX} characters.",
                    "REQUEST_TOO_LARGE",
                )
            try:
                await self._heed(text)
            except ServiceError as error:
                correlation_id = visit_of(self._socket.scope).correlation_id
                self._say(Refused(problem=problem_of(error, correlation_id)))

    async def _next(self) -> HiddenBytes | None:
        """The next message; None when it is not text."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        return None if text is None else HiddenBytes(text.encode())

    def _check_rate(self) -> None:
        now = self._services.clock.monotonic()
        if len(self._asked_at) == ASKS_MAX and now - self._asked_at[0] < ASKS_WINDOW_S:
            raise ServiceError(
                f"At most {ASKS_MAX} messages in {ASKS_WINDOW_S:g} s.", "RATE_LIMIT_EXCEEDED"
            )
        self._asked_at.append(now)

    async def _heed(self, text: bytes) -> None:
        ask = _parsed(text)
        if isinstance(ask, Auth):
            raise ServiceError("You are signed in already.", "INVALID_REQUEST")
        start = isinstance(ask, Subscribe)
        if ask.channel == "orders":
            await (self._hear_orders() if start else self._leave_orders())
        else:
            await (self._hear_prices(ask.symbols) if start else self._leave_prices(ask.symbols))

    async def _hear_prices(self, asked: list[str]) -> None:
        symbols = [known(self._services, symbol) for symbol in dict.fromkeys(asked)]
        if not symbols:
            raise ServiceError("`symbols`: name at least one.", "INVALID_REQUEST")
        if len(self._symbols.union(symbols)) > SYMBOLS_MAX:
            raise ServiceError(f"At most {SYMBOLS_MAX} symbols a connection.", "INVALID_REQUEST")
        self._say(Subscribed(channel="prices", symbols=tuple(symbols)))
        for symbol in symbols:
            self._symbols.add(symbol)
            await self._fan.attach(symbol, self._outbox)

    async def _leave_prices(self, asked: list[str]) -> None:
        leaving = [s for s in dict.fromkeys(asked or sorted(self._symbols)) if s in self._symbols]
        for symbol in leaving:
            self._symbols.discard(symbol)
            await self._fan.detach(symbol, self._outbox)
        self._say(Unsubscribed(channel="prices", symbols=tuple(leaving)))

    async def _hear_orders(self) -> None:
        if self._facts is None:  # listen before the snapshot, so that nothing falls between
            self._facts = self._services.bus.subscribe(OrderChanged)
        self._say(Subscribed(channel="orders", symbols=()))
        await self._show_open_orders()
        self._facts_wanted.set()

    async def _leave_orders(self) -> None:
        self._facts_wanted.clear()
        self._say(Unsubscribed(channel="orders", symbols=()))

    async def _show_open_orders(self) -> None:
        orders, after = await self._services.orders.list_orders(
            self._caller.tenant_id,
            status=None,
            open_only=True,
            limit=SNAPSHOT_ORDERS_MAX,
            after=None,
        )
        self._snapshot = {order.order_id: order.updated_at for order in orders}
        views = tuple(order_view(order) for order in orders)
        self._say(OpenOrders(orders=views, complete=after is None))

    async def _follow_orders(self) -> None:
        lost = 0
        await self._facts_wanted.wait()
        facts = self._facts
        while facts is not None:
            fact: OrderChanged = await facts.next()
            if facts.dropped > lost:  # the mailbox was full: show all again
                lost = facts.dropped
                self._services.metrics.record("FactsDropped", listener="stream")
                if self._facts_wanted.is_set():
                    await self._show_open_orders()
            self._pass_on(fact)

    def _pass_on(self, fact: OrderChanged) -> None:
        order = fact.order
        if order.tenant_id != self._caller.tenant_id or not self._facts_wanted.is_set():
            return
        shown_at = self._snapshot.get(order.order_id)
        if shown_at is not None and order.updated_at < shown_at:
            return  # the snapshot is newer
        message = msgspec.json.encode(OrderSaid(order=order_view(order)))
        self._outbox.order(order.order_id, message)

    async def _write(self) -> None:
        while True:
            await self._outbox.ready.wait()
            await asyncio.sleep(TICK_S)
            if self._outbox.overflowed:
                raise ServiceError("You read too slowly.", "RATE_LIMIT_EXCEEDED")
            try:
                async with asyncio.timeout(SEND_S):
                    await self._socket.send_text(self._outbox.take().decode())
            except TimeoutError as error:
                raise ServiceError(
                    f"You took nothing for {SEND_S:g} s.", "RATE_LIMIT_EXCEEDED"
                ) from error

    def _say(self, message: msgspec.Struct) -> None:
        self._outbox.note(msgspec.json.encode(message))


def _parsed(text: bytes) -> Ask:
    try:
        ask: Ask = _decode_ask(text)
        return ask
    except msgspec.DecodeError as error:
        said = sentence(error, {}).replace("The body", "The message")
    raise ServiceError(said, "INVALID_REQUEST")  # not `from` the error, which quotes the message
