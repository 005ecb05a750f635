"""Is it alive, and can it work? Named checks that whoever owns a part adds."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError

Check = Callable[[], Awaitable[str | None]]
"""None when well, else one sentence on what is wrong."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one check said. Not `required` ones are shown, but do not make us unready."""

    name: str
    ok: bool
    required: bool
    message: str | None = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether work can be taken now, and what each check said."""

    ready: bool
    checks: tuple[CheckResult, ...]


class Health:
    """Runs the named checks together, each within `timeout_s`; an answer serves `keep_s` seconds,
    since anyone may ask.
    """

    def __init__(self, clock: Clock, *, timeout_s: float = 2.0, keep_s: float = 1.0) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._running: asyncio.Task[Readiness] | None = None
        self._asked_at = 0.0

    def add(self, name: str, check: Check, *, required: bool = True) -> None:
        """Ask `check` whenever readiness is asked for; a name stands once."""
        if name in self._checks:
            raise ValueError(f"a check named {name} exists already")
        self._checks[name] = (check, required)

    async def readiness(self) -> Readiness:
        """The answer of all checks, at most `keep_s` old."""
        now = self._clock.monotonic()
        if self._running is None or (self._running.done() and now - self._asked_at >= self._keep_s):
            self._asked_at = now
            self._running = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._running)

    async def _ask_all(self) -> Readiness:
        asked = [self._ask(name, *row) for name, row in self._checks.items()]
        results = tuple(await asyncio.gather(*asked))
        return Readiness(ready=all(r.ok or not r.required for r in results), checks=results)

    async def _ask(self, name: str, check: Check, required: bool) -> CheckResult:
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await check()
        except TimeoutError:
            message = f"no answer within {self._timeout_s:g} s"
        except (ServiceError, OSError) as error:
            message = str(error) or type(error).__name__
        return CheckResult(name=name, ok=message is None, required=required, message=message)
