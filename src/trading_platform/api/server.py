"""How the API is served: uvicorn with the bounds that a public port needs."""

import uvicorn
from starlette.types import ASGIApp

STREAM_MESSAGE_BYTES_MAX = 4096
"""Longest message a stream client may send."""


def server_config(app: ASGIApp, *, host: str, port: int) -> uvicorn.Config:
    """The settings of the server. Logging is ours, not uvicorn's; signals are the caller's."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
        limit_concurrency=2000,
        backlog=512,
        ws_max_size=STREAM_MESSAGE_BYTES_MAX,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
    )
