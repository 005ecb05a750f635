"""Loops that must not die silently."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from trading_platform.kit.retry import backoff_s


class _Log(Protocol):
    def error(self, event: str, **fields: Any) -> Any: ...


class Supervisor:
    """Runs named loops, starts one again when it fails, and stops all of them on `close`."""

    def __init__(
        self, log: _Log, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._log = log
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `run()` until it returns; after an exception, again after a growing pause."""
        if name in self._tasks and not self._tasks[name].done():
            raise ValueError(f"a loop named {name} runs already")
        self._tasks[name] = asyncio.create_task(self._keep(name, run), name=name)

    async def stop(self, name: str) -> None:
        """Cancel one loop and wait for it; unknown names are ignored."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Cancel every loop and wait until all have ended."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        attempt = 0
        while True:
            try:
                return await run()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                attempt += 1
                self._log.error(
                    "loop failed", loop=name, attempt=attempt, error=repr(error), exc_info=error
                )
                await self._sleep(backoff_s(attempt))
