"""Wiring around uvicorn: a socket bound before anything starts, and a stop that is ours."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from trading_platform.api.server import server_config
from trading_platform.kit.errors import ServiceError

_STOP_S = 4.0
BACKLOG = 512


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket; UNUSABLE_DATA names the port and the option that changes it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off for IPPROTO_TCP only.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            bound.listen(BACKLOG)  # else a second platform could bind the same port meanwhile
        except (OSError, UnicodeError) as error:
            raise _unusable(host, port, error) from error
        bound.set_inheritable(True)
        yield bound


def _unusable(host: str, port: int, error: OSError | UnicodeError) -> ServiceError:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.errno in {errno.EADDRINUSE, errno.EACCES}:
        advice = "Choose another with --port, such as --port 8081."
    else:
        advice = "Give an address of this machine with --host, such as --host 127.0.0.1."
    return ServiceError(
        f"port {port} on {host} cannot be used ({reason}). {advice}", "UNUSABLE_DATA"
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the caller decides when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """The API on one socket."""

    def __init__(self, app: ASGIApp, bound: socket.socket) -> None:
        host, port = bound.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server = _Server(server_config(app, host=host, port=port))
        self._socket = bound
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve; returns once requests are taken."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="api")
        serving = asyncio.create_task(self._server.serving.wait())
        await asyncio.wait({self._task, serving}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if self._task.done():
            await self._task

    async def close(self) -> None:
        """Finish the requests at hand, at most 4 s, and stop."""
        if self._task is None:
            return
        self._server.should_exit = True
        done, _ = await asyncio.wait([self._task], timeout=_STOP_S)
        if not done:
            self._server.force_exit = True
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
