"""The REST shell of one exchange: one session, bounded in every direction, nothing sent twice.

1. No redirects, no cookies (accounts of different tenants share the connections). A POST is sent
   at most once; aiohttp repeats a GET or DELETE when a kept connection turns out to be closed.
2. What happened is a value: an answer, NotSent (provably no byte of the request left) or Lost.
3. After the exchange has told us to wait, nothing is sent to it until that time has passed.
4. Its time is counted on our monotonic clock: a step of the wall clock changes nothing.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from trading_platform.exchanges.dialect import HttpResponse, TradingDialect
from trading_platform.exchanges.ports import Rejected
from trading_platform.exchanges.signer import PASSPHRASE_HEADER, SignedRequest, unsigned
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.hidden import HiddenText

CALL_TIMEOUT_S = 10.0
ECHO_LENGTH_MIN = 6
"""Shorter texts stand in answers by chance."""
CONNECT_TIMEOUT_S = 4.0
BODY_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 64
CLOCK_GOOD_FOR_S = 300.0
CLOCK_ASKED_AT_MOST_EVERY_S = 1.0
_NEVER = float("-inf")

MayLeave = Callable[[], None]
"""Raises ServiceError when a request must not leave after all."""


class Log(Protocol):
    """A structured logger."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class NotSent(msgspec.Struct, frozen=True, kw_only=True):
    """Provably no byte of the request reached the exchange."""

    reason: str
    code: str = "EXCHANGE_UNAVAILABLE"
    retry_after_s: float | None = None

    def as_rejected(self) -> Rejected:
        """The same to somebody who asked for an order."""
        return Rejected(code=self.code, message=self.reason, retry_after_s=self.retry_after_s)

    def as_error(self) -> ServiceError:
        """The same to somebody who asked a question."""
        metadata = {} if self.retry_after_s is None else {"retryAfter": self.retry_after_s}
        return ServiceError(self.reason, self.code, metadata=metadata)


class Lost(msgspec.Struct, frozen=True):
    """The request may have arrived; no usable answer came."""

    reason: str


Answer = HttpResponse | NotSent | Lost

_may_leave: ContextVar[MayLeave | None] = ContextVar("may_leave", default=None)


class _LastWord(aiohttp.ClientRequest):
    """A request that is asked once more when its connection stands, before its first byte."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        may_leave = _may_leave.get()
        if may_leave is not None:
            may_leave()
        return await super().send(conn)


class RestClient:
    """Calls one exchange; shared by all accounts there."""

    def __init__(
        self,
        base_url: str,
        dialect: TradingDialect,
        clock: Clock,
        log: Log,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self.base_url = base_url
        self.timeout_s = timeout_s
        self._dialect = dialect
        self._clock = clock
        self._log = log
        self._body_bytes_max = body_bytes_max
        self._session: aiohttp.ClientSession | None = None
        self._paused_until = 0.0
        self._theirs_ms = 0.0
        self._measured_at = _NEVER
        self._asked_at = _NEVER
        self._offset_ms = 0
        self._time_failure: NotSent | None = None
        self._asking_time: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the session; calls before this are not sent."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=45.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "trading-platform"},
            trust_env=False,
            request_class=_LastWord,
        )

    async def close(self) -> None:
        """Close the session; calls under way end as Lost."""
        session, self._session = self._session, None
        if self._asking_time is not None:
            self._asking_time.cancel()
        if session is not None:
            await session.close()

    async def send(
        self,
        request: SignedRequest,
        *,
        timeout_s: float | None = None,
        may_leave: MayLeave | None = None,
    ) -> Answer:
        """One request, one answer; never raises for what a network or an exchange does.

        `may_leave` has the last word once the connection stands: what it raises is NotSent.
        """
        wait_s = self._paused_until - self._clock.monotonic()
        if wait_s > 0:
            return NotSent(
                reason="The exchange has told this address to wait.",
                code="RATE_LIMIT_EXCEEDED",
                retry_after_s=round(wait_s, 3),
            )
        if self._session is None:
            return NotSent(reason="The connection to the exchange is closed.")
        token = _may_leave.set(may_leave)
        try:
            answer = await self._exchange(self._session, request, timeout_s or self.timeout_s)
        finally:
            _may_leave.reset(token)
        if isinstance(answer, HttpResponse):
            self._heed(answer)
        return answer

    async def server_time_ms(self, *, fresh: bool = False) -> int | NotSent:
        """The exchange's Unix time by our estimate; asked anew every 5 minutes, or when `fresh`.

        An estimate that has grown old serves while a new one is asked for: only the first caller of
        all, and those whom the exchange has refused for their time, wait.
        """
        known = self._measured_at != _NEVER
        if fresh or self._clock.monotonic() - self._measured_at > CLOCK_GOOD_FOR_S:
            asking = self._ask_time()
            if asking is not None and (fresh or not known):
                await asyncio.wait({asking})
        if self._measured_at == _NEVER:
            return self._time_failure or NotSent(reason="The exchange's time is not known yet.")
        return round(self._theirs_ms + (self._clock.monotonic() - self._measured_at) * 1000)

    def _ask_time(self) -> asyncio.Task[None] | None:
        """The question under way, if need be a new one; None right after the last was answered."""
        if self._asking_time is None or self._asking_time.done():
            if self._clock.monotonic() - self._asked_at <= CLOCK_ASKED_AT_MOST_EVERY_S:
                return None
            self._asking_time = asyncio.create_task(self._learn_time())
        return self._asking_time

    async def _learn_time(self) -> None:
        self._time_failure = await self._measure_time()
        # Counted from the end: one slow failure speaks for all who come within the next second.
        self._asked_at = self._clock.monotonic()

    async def _measure_time(self) -> NotSent | None:
        before = self._clock.monotonic()
        request = unsigned(self.base_url, self._dialect.server_time())
        answer = await self.send(request, timeout_s=min(self.timeout_s, 3.0))
        after = self._clock.monotonic()
        if not isinstance(answer, HttpResponse):
            return NotSent(reason=f"The exchange does not tell its time: {answer.reason}")
        try:
            theirs_ms = self._dialect.read_server_time(answer)
        except ServiceError as error:
            return NotSent(reason=error.message)
        now_theirs_ms = theirs_ms + (after - before) * 500  # half of the round trip, in ms
        offset_ms = round(now_theirs_ms - self._clock.time_ns() / 1e6)
        if abs(offset_ms - self._offset_ms) >= 500:
            self._log.warning(
                "exchange clock differs",
                exchange=self._dialect.exchange_id.value,
                offset_ms=offset_ms,
                round_trip_ms=round((after - before) * 1000),
            )
        self._theirs_ms, self._measured_at, self._offset_ms = now_theirs_ms, after, offset_ms
        return None

    def _heed(self, response: HttpResponse) -> None:
        pause_s = self._dialect.pause_s(response)
        if pause_s > 0:
            until = self._clock.monotonic() + pause_s
            self._paused_until = max(self._paused_until, until)
            self._log.warning(
                "exchange told us to wait",
                exchange=self._dialect.exchange_id.value,
                status=response.status,
                pause_s=pause_s,
            )

    async def _exchange(
        self, session: aiohttp.ClientSession, request: SignedRequest, timeout_s: float
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s * 0.8)
        )
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                return await self._read(response, request)
        except ServiceError as refusal:  # by `may_leave`
            return NotSent(reason=refusal.message, code=refusal.code)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return NotSent(reason=f"No connection to the exchange: {_name(error)}")
        except TimeoutError:
            return Lost(f"no answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Lost(f"connection broke: {_name(error)}")

    async def _read(self, response: aiohttp.ClientResponse, request: SignedRequest) -> Answer:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._body_bytes_max:
                response.close()
                return Lost(f"answer larger than {self._body_bytes_max} bytes")
            parts.append(part)
        headers = {name.lower(): value for name, value in response.headers.items()}
        body = b"".join(parts)
        if response.status >= 400:  # its text goes into messages
            body = _without_echo(body, request)
        return HttpResponse(status=response.status, headers=headers, body=body)


def _without_echo(body: bytes, request: SignedRequest) -> bytes:
    """What was answered, should it repeat the secret that was sent with the request."""
    secret = HiddenText(request.headers.get(PASSPHRASE_HEADER, ""))
    return body.replace(secret.encode(), b"...") if len(secret) >= ECHO_LENGTH_MIN else body


def _name(error: BaseException) -> str:
    # The type only: an error's text may hold the URL, and with it an account's parameters.
    return type(error).__name__
