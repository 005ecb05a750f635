"""Sends a prepared stream to whoever connects, as fast as it is read:
`python -m benchmarks.feed_server COUNT`.

The path of the request names the wire form. Prints its port, then serves one client at a time until
it is ended. A process of its own, so that its work is not on the client's core.
"""

import base64
import hashlib
import socket
import sys

from benchmarks.feed_messages import FORMS, stream

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_CHUNK_BYTES = 1 << 18
_PATHS = {
    "/ws": "binance",
    "/stream": "binance-combined",
    "/exchange": "coinbase",
    "/advanced": "coinbase-advanced",
}


def _request(client: socket.socket) -> tuple[str, bytes]:
    """(path, key) of the upgrade request."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65536)
        if not more:
            raise ConnectionError("closed before asking")
        head += more
    lines = head.split(b"\r\n")
    keys = [
        line.split(b":", 1)[1].strip()
        for line in lines
        if line[:18].lower() == b"sec-websocket-key:"
    ]
    return lines[0].split(b" ")[1].split(b"?")[0].decode(), keys[0]


def _serve(client: socket.socket, count: int, seed: int) -> None:
    path, key = _request(client)
    form = _PATHS[path]
    assert form in FORMS
    accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    data = memoryview(stream(form, count, seed))
    for start in range(0, len(data), _CHUNK_BYTES):
        client.sendall(data[start : start + _CHUNK_BYTES])
    while client.recv(65536):  # until the client has had enough
        pass


def main(count: int) -> None:
    """Serve for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        seed = 0
        while True:
            client, _ = server.accept()
            seed += 1
            with client:
                try:
                    _serve(client, count, seed)
                except ConnectionError:
                    continue


if __name__ == "__main__":
    main(int(sys.argv[1]))
