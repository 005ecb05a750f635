"""One connection to Valkey shared by everybody: cheap, bounded, and honest about what it lost.

1. Commands of one turn of the event loop leave in one write; replies come back in order.
2. A command is written at most once. Those in flight when the connection breaks fail, although the
   server may have run them: nothing is sent again silently.
3. Every command ends within `deadline_s`. A reply that late means a stalled server or a dead
   network, so the whole connection is dropped and the next command opens a new one.
4. At most `in_flight_max` commands wait for replies.
5. While the server is away, commands fail within 50 ms; a connection is tried again after a pause
   that grows with jitter.
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Sequence
from typing import cast

import hiredis
import msgspec

from trading_platform.cache.address import Address, Word, parse_address
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s

_PATIENCE_S = 0.05

Reply = bytes | int | None | list["Reply"]


class Script(msgspec.Struct, frozen=True):
    """A Lua script that the server runs as one step."""

    source: str
    sha: str

    @classmethod
    def of(cls, source: str) -> "Script":
        """`source` with the name under which the server keeps it (SHA-1, EVALSHA)."""
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Refusal(ServiceError):
    """The server answered with an error; `kind` is its first word, such as NOSCRIPT."""

    def __init__(self, said: str) -> None:
        self.kind = said.partition(" ")[0]
        super().__init__(
            f"The cache refused a command: {said[:200]}",
            "PROVIDER_UNAVAILABLE",
            metadata={"service": "cache"},
        )


def unavailable(what: str) -> ServiceError:
    """The one error for a cache that cannot be asked."""
    return ServiceError(
        f"The cache (Valkey) {what}.", "PROVIDER_UNAVAILABLE", metadata={"service": "cache"}
    )


def pack(words: tuple[Word, ...]) -> bytes:
    """One command as it goes over the wire (RESP)."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says a 1-tuple
    return packed


class Link:
    """Commands to one server over one connection, opened on first use and again when it broke."""

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float = 1.0,
        in_flight_max: int = 4096,
        pause_first_s: float = 0.05,
        pause_max_s: float = 1.0,
    ) -> None:
        self._address = parse_address(url)
        self._deadline_s = deadline_s
        self._in_flight_max = in_flight_max
        self._pauses_s = (pause_first_s, pause_max_s)
        self._wire: _Wire | None = None
        self._opening: asyncio.Task[_Wire] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._closed = False

    async def call(self, *words: Word) -> Reply:
        """Send one command and give its reply; raises PROVIDER_UNAVAILABLE."""
        wire = self._wire
        if wire is None or wire.broken:
            wire = await self._open()
        return await wire.send(words)

    async def script(
        self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]
    ) -> Reply:
        """Run a script, sending its text only to a server that does not know it yet."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", script.sha, *rest)
        except Refusal as refusal:
            if refusal.kind != "NOSCRIPT":
                raise
        return await self.call("EVAL", script.source, *rest)

    async def close(self) -> None:
        """Let go of the connection; commands in flight fail, and so does every later one."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._wire is not None:
            self._wire.drop("was closed")

    async def _open(self) -> "_Wire":
        if self._closed:
            raise unavailable("link is closed")
        if self._opening is None:
            if asyncio.get_running_loop().time() < self._retry_at:
                raise unavailable(f"at {self._address} cannot be reached; trying again shortly")
            self._opening = asyncio.create_task(self._connect(), name="cache-link-open")
            self._opening.add_done_callback(_notice)
        opening = self._opening
        # Not awaited directly: one impatient caller must not take the connection from the others.
        patience_s = _PATIENCE_S if self._failures else self._deadline_s + _PATIENCE_S
        done, _ = await asyncio.wait({opening}, timeout=patience_s)
        if not done:
            raise unavailable(f"at {self._address} does not answer; trying again shortly")
        return opening.result()

    async def _connect(self) -> "_Wire":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                wire = await connect(self._address, self._deadline_s, self._in_flight_max)
        except (OSError, ServiceError) as error:
            self._failures += 1
            first_s, most_s = self._pauses_s
            self._retry_at = loop.time() + backoff_s(self._failures, first_s=first_s, most_s=most_s)
            raise unavailable(f"at {self._address} cannot be reached: {error}") from error
        except asyncio.CancelledError:  # only `close` cancels this task
            raise unavailable("link is closed") from None
        finally:
            self._opening = None
        self._failures = 0
        self._wire = wire
        return wire


def _notice(opening: "asyncio.Task[_Wire]") -> None:
    """Look at a failure that nobody waited for, so that it is not logged as forgotten."""
    if not opening.cancelled():
        opening.exception()


async def connect(address: Address, deadline_s: float, in_flight_max: int) -> "_Wire":
    """Open a connection and finish its handshake; raises OSError or ServiceError."""
    loop = asyncio.get_running_loop()

    def make() -> _Wire:
        return _Wire(loop, deadline_s, in_flight_max)

    if address.path:
        _, wire = await loop.create_unix_connection(make, address.path)
    else:
        tls = ssl.create_default_context() if address.tls else None
        _, wire = await loop.create_connection(make, address.host, address.port, ssl=tls)
    try:
        for words in address.handshake():
            await wire.send(words)
    except BaseException:
        wire.drop("did not finish the handshake")
        raise
    return wire


class _Wire(asyncio.Protocol):
    """One open connection; once broken it stays broken."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadline_s: float, in_flight_max: int
    ) -> None:
        self.broken = False
        self._loop = loop
        self._deadline_s = deadline_s
        self._in_flight_max = in_flight_max
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, words: tuple[Word, ...]) -> asyncio.Future[Reply]:
        """Queue one command for this turn's write; the future ends by the deadline."""
        if self.broken:
            raise unavailable("connection is closed")
        if len(self._waiting) >= self._in_flight_max:
            raise unavailable(f"already has {self._in_flight_max} commands in flight")
        packed = pack(words)
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        now = self._loop.time()
        self._waiting.append((now, future))
        if self._watch is None:
            self._watch = self._loop.call_at(now + self._deadline_s, self._look)
        return future

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._answer(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.drop(f"sent what is not its protocol ({error!r})")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.drop("closed the connection; a command may or may not have been done")

    def drop(self, why: str) -> None:
        """Break the connection and fail everything in flight."""
        if self.broken:
            return
        self.broken = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(unavailable(why))

    def _flush(self) -> None:
        if self._unsent and not self.broken and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _answer(self, reply: Reply | hiredis.ReplyError) -> None:
        _, future = self._waiting.popleft()
        if not isinstance(reply, hiredis.ReplyError):
            if not future.done():
                future.set_result(reply)
            return
        refusal = Refusal(str(reply))
        if not future.done():
            future.set_exception(refusal)
        if refusal.kind == "READONLY":  # a failover: the name may already lead to the new primary
            self.drop("has become a replica")

    def _look(self) -> None:
        """Replies come in order, so watching the oldest command watches all."""
        self._watch = None
        if not self._waiting:
            return
        due = self._waiting[0][0] + self._deadline_s
        if due <= self._loop.time():
            self.drop(f"did not answer within {self._deadline_s} s")
        else:
            self._watch = self._loop.call_at(due, self._look)
