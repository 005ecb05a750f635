"""Halts that were asked for and are not durable yet. They hold in this process from the first
moment, and one that could not be written holds until it is: whoever asked for it wants it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s
from trading_platform.safety.switch import PLATFORM, Scope, exchange_scope, tenant_scope

_AGAIN_MOST_S = 5.0


class Arriving:
    """What is being halted, by scope."""

    def __init__(self, warn: Callable[[str, Exception], None]) -> None:
        self._warn = warn
        self._asked: Counter[str] = Counter()
        self._insisting: dict[str, asyncio.Task[None]] = {}

    def begin(self, scope: Scope) -> None:
        """From now on the scope is refused."""
        self._asked[str(scope)] += 1

    def end(self, scope: Scope) -> None:
        """One halt of the scope has become durable."""
        self._asked[str(scope)] -= 1
        self._asked += Counter()  # drops what has come down to zero

    def covers(self, tenant_id: str, exchange_id: str) -> str | None:
        """The scope whose arriving halt concerns such an order, if any."""
        if not self._asked:
            return None
        scopes = (PLATFORM, exchange_scope(exchange_id), tenant_scope(tenant_id))
        return next((name for name in map(str, scopes) if self._asked[name]), None)

    def insist(self, scope: Scope, write: Callable[[], Awaitable[None]]) -> None:
        """Go on with a halt that failed: `write`, which raises ServiceError, until it succeeds."""
        name = str(scope)
        if name in self._insisting:  # one is enough, and the scope stays refused by it
            return self.end(scope)
        task = asyncio.create_task(self._write(scope, write), name=f"halt {name}")
        self._insisting[name] = task
        return task.add_done_callback(lambda _: self._insisting.pop(name, None))

    async def close(self) -> None:
        """Stop trying."""
        tasks = list(self._insisting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, scope: Scope, write: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            failures += 1
            await asyncio.sleep(0.05 + backoff_s(failures, first_s=0.1, most_s=_AGAIN_MOST_S))
            try:
                await write()
            except ServiceError as error:
                self._warn("halt not written yet", error)
            else:
                return self.end(scope)
