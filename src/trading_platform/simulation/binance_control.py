"""The control language of Binance's market streams: SUBSCRIBE and its kin (no sockets)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from trading_platform.simulation.binance_streams import StreamHub, Subscriber


class StreamSession:
    """The control language of one market connection: SUBSCRIBE and its kin."""

    def __init__(self, hub: StreamHub, subscriber: Subscriber, *, combined: bool) -> None:
        self._hub, self._subscriber = hub, subscriber
        self.combined = combined
        self.streams: dict[str, None] = {}

    def add(self, streams: Iterable[str]) -> None:
        """Subscribe, as the URL does."""
        for stream in streams:
            self.streams[stream] = None
            self._hub.subscribe(stream, self._subscriber)

    def close(self) -> None:
        """Leave every stream."""
        for stream in self.streams:
            self._hub.unsubscribe(stream, self._subscriber)
        self.streams = {}

    def control(self, frame: str | bytes) -> dict[str, Any]:
        """The answer to one control message."""
        try:
            message = msgspec.json.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return {"code": 3, "msg": f"Invalid JSON: {error}"}
        if not isinstance(message, dict) or not _is_id(message.get("id")):
            return _invalid("request ID must be an unsigned integer, a short string or null")
        params = message.get("params", [])
        if not isinstance(params, list):
            return _invalid("params must be an array")
        return self._run(message.get("method"), params, message.get("id"))

    def _run(self, method: object, params: list[Any], request_id: object) -> dict[str, Any]:
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not params or not all(isinstance(name, str) and name for name in params):
                return _invalid("params must hold stream names")
            return self._change(str(method), params, request_id)
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self.streams), "id": request_id}
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(str(method), params, request_id)
        return _invalid(
            f"unknown variant `{method}`, expected one of `SUBSCRIBE`, "
            "`UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
        )

    def _change(self, method: str, names: list[str], request_id: object) -> dict[str, Any]:
        if method == "UNSUBSCRIBE":
            for name in names:
                self.streams.pop(name, None)
                self._hub.unsubscribe(name, self._subscriber)
        elif len(self.streams.keys() | set(names)) > 1024:
            return _invalid("more than 1024 streams on one connection")
        else:
            self.add(names)
        return {"result": None, "id": request_id}

    def _property(self, method: str, params: list[Any], request_id: object) -> dict[str, Any]:
        if not params or params[0] != "combined":
            return {"code": 0, "msg": "Unknown property"}
        if method == "GET_PROPERTY":
            return {"result": self.combined, "id": request_id}
        if len(params) != 2 or not isinstance(params[1], bool):
            return {"code": 1, "msg": "Invalid value type: expected Boolean"}
        self.combined = params[1]
        return {"result": None, "id": request_id}


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 36
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _invalid(what: str) -> dict[str, Any]:
    return {"code": 2, "msg": f"Invalid request: {what}"}
