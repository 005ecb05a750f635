"""Binance's WebSocket API: requests, session logon, and the user data stream (no sockets).

web-socket-api, user-data-stream: the signature covers the sorted params; events are wrapped with
their subscriptionId; one subscription an account and connection.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_api import Operation, Venue
from trading_platform.simulation.binance_params import Params, of_json
from trading_platform.simulation.binance_security import (
    Security,
    check_time,
    known_key,
    permit,
    socket_payloads,
    verify,
)
from trading_platform.simulation.gate import Answer, Gate
from trading_platform.simulation.model import SimKey

_SUBSCRIPTIONS_MAX = 65_535


class ApiSession:
    """One connection. `send` takes what must reach the client outside of answers."""

    def __init__(
        self,
        venue: Venue,
        operations: Mapping[str, Operation],
        gate: Gate,
        address: str,
        send: Callable[[dict[str, Any]], None],
        *,
        limits_wanted: bool = True,
    ) -> None:
        self._venue, self._gate, self._address = venue, gate, address
        self._send, self._limits_wanted = send, limits_wanted
        self._connected_ns = venue.now_ns
        self._key: SimKey | None = None
        self._logged_on_ns = 0
        self._subscriptions: dict[int, SimKey] = {}
        self._session_subscription: int | None = None
        self._next_subscription = 0
        self._operations = {**operations, **{op.name: op for op in self._own_operations()}}

    async def handle(self, frame: str | bytes) -> dict[str, Any] | None:
        """The answer to one request; None: cut the connection."""
        try:
            request_id, method, params = _parse(frame)
        except errors.BinanceError as error:
            return _failed(None, error.status, error.body())
        wants_limits = params.get("returnRateLimits", "true") != "false" and self._limits_wanted
        operation = self._operations.get(method.removeprefix("v3/"))
        if operation is None:
            refusal = errors.BinanceError(-1020, "This operation is not supported.")
            return _failed(request_id, 400, refusal.body())
        answer = await self._gate.respond(operation.name, lambda: self._execute(operation, params))
        return None if answer is None else self._wrap(request_id, operation, answer, wants_limits)

    def tell(self, account_id: str, event: dict[str, Any]) -> None:
        """Pass a user event on to every subscription of the account."""
        for subscription_id, key in self._subscriptions.items():
            if key.account_id == account_id:
                self._send({"subscriptionId": subscription_id, "event": event})

    def _execute(self, operation: Operation, params: Mapping[str, str]) -> Answer:
        return self._venue.execute(
            operation, Params(params), lambda: self._identify(operation, params), self._address
        )

    def _identify(self, operation: Operation, params: Mapping[str, str]) -> SimKey | None:
        """By the session when logged on and no key is named, else by signature."""
        if not operation.security.signed:
            return self._live_key() if operation.security is Security.KEY else None
        session = self._key if "apiKey" not in params else None
        if session is not None:
            check_time(params, self._venue.now_ns / 1_000_000)
            key = self._live_key()
        else:
            key = self._signed_by(params)
        permit(key, operation.security)
        return key

    def _signed_by(self, params: Mapping[str, str]) -> SimKey:
        key = known_key(params.get("apiKey"), self._venue.exchange.key)
        check_time(params, self._venue.now_ns / 1_000_000)
        signature = params.get("signature", "")
        if not signature:
            raise errors.missing("signature")
        if not any(verify(key, payload, signature) for payload in socket_payloads(params)):
            raise errors.bad_signature()
        return key

    def _live_key(self) -> SimKey:
        """The session's key, unless it was revoked meanwhile."""
        if self._key is None:
            raise errors.BinanceError(-1002, "You are not authorized to execute this request.", 401)
        return known_key(self._key.api_key, self._venue.exchange.key)

    def _wrap(
        self, request_id: Any, operation: Operation, answer: Answer, wants_limits: bool
    ) -> dict[str, Any]:
        reply: dict[str, Any] = {"id": request_id, "status": answer.status}
        if answer.status == 200:
            reply["result"] = answer.body
        else:
            reply["error"] = self._error_body(answer)
        if wants_limits:
            reply["rateLimits"] = self._venue.budgets.weight_rows(self._address, self._venue.now_s)
            if operation.orders and self._key is not None:
                reply["rateLimits"] = (
                    self._venue.budgets.order_rows(self._key.account_id, self._venue.now_s)
                    + reply["rateLimits"]
                )
        return reply

    def _error_body(self, answer: Answer) -> Any:
        retry_after_s = answer.headers.get("Retry-After")
        if retry_after_s is None:
            return answer.body if isinstance(answer.body, dict) else {"code": -1000, "msg": ""}
        now_ms = self._venue.now_ns // 1_000_000
        data = {"serverTime": now_ms, "retryAfter": now_ms + int(retry_after_s) * 1000}
        return {**answer.body, "data": data}

    # -- session and user data stream

    def _own_operations(self) -> list[Operation]:
        def own(
            name: str, handler: Any, weight: int, security: Security, read: str = ""
        ) -> Operation:
            return Operation(name, (), handler, frozenset(read.split()), lambda _: weight, security)

        none, key, read = Security.NONE, Security.KEY, Security.READ
        return [
            own("session.logon", self._logon, 2, read),
            own("session.status", lambda _: self._status(), 2, none),
            own("session.logout", lambda _: self._logout(), 2, none),
            own("session.subscriptions", lambda _: self._list(), 2, none),
            own("userDataStream.subscribe", self._subscribe_session, 2, key),
            own("userDataStream.subscribe.signature", self._subscribe_signed, 2, read),
            own("userDataStream.unsubscribe", self._unsubscribe, 2, none, "subscriptionId"),
        ]

    def _logon(self, call: Any) -> dict[str, Any]:
        if call.key.ed25519_public_pem is None:
            raise errors.BinanceError(-4056, "HMAC_SHA256 API key is not supported.")
        self._key, self._logged_on_ns = call.key, self._venue.now_ns
        return self._status()

    def _logout(self) -> dict[str, Any]:
        if self._session_subscription is not None:
            self._subscriptions.pop(self._session_subscription, None)
            self._session_subscription = None
        self._key = None
        return self._status()

    def _status(self) -> dict[str, Any]:
        return {
            "apiKey": self._key.api_key if self._key else None,
            "authorizedSince": self._logged_on_ns // 1_000_000 if self._key else None,
            "connectedSince": self._connected_ns // 1_000_000,
            "returnRateLimits": self._limits_wanted,
            "serverTime": self._venue.now_ns // 1_000_000,
            "userDataStream": bool(self._subscriptions),
        }

    def _list(self) -> list[dict[str, Any]]:
        return [{"subscriptionId": number} for number in self._subscriptions]

    def _subscribe_session(self, call: Any) -> dict[str, Any]:
        answer = self._subscribe(call.key)
        self._session_subscription = int(answer["subscriptionId"])
        return answer

    def _subscribe_signed(self, call: Any) -> dict[str, Any]:
        return self._subscribe(call.key)

    def _subscribe(self, key: SimKey) -> dict[str, Any]:
        if any(key.account_id == other.account_id for other in self._subscriptions.values()):
            raise errors.BinanceError(-2035, "User data stream subscription already active.")
        if self._next_subscription >= _SUBSCRIPTIONS_MAX:
            raise errors.BinanceError(-2042, "Maximum number of subscriptions reached.")
        number = self._next_subscription
        self._next_subscription += 1
        self._subscriptions[number] = key
        return {"subscriptionId": number}

    def _unsubscribe(self, call: Any) -> dict[str, Any]:
        number = call.params.integer("subscriptionId")
        if number is None:
            self._subscriptions.clear()
        elif self._subscriptions.pop(number, None) is None:
            raise errors.BinanceError(-2036, "User data stream subscription not active.")
        return {}


def _parse(frame: str | bytes) -> tuple[Any, str, dict[str, str]]:
    """(id as sent, method, params as text)."""
    refused = errors.BinanceError(-1135, "Invalid JSON Request")
    try:
        plain = json.loads(frame)
        # Numbers keep their own text: the signature was made over it.
        texts = json.loads(frame, parse_int=str, parse_float=str)
        json.dumps(plain, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise refused from None
    if not isinstance(plain, dict) or not isinstance(plain.get("method"), str):
        raise refused
    params = texts.get("params") or {}
    request_id = plain.get("id")
    if not isinstance(params, dict) or not isinstance(request_id, int | str | None):
        raise refused
    if isinstance(request_id, int) and not -(2**63) <= request_id < 2**63:
        raise refused
    return request_id, plain["method"], of_json(params)


def _failed(request_id: Any, status: int, error: dict[str, Any]) -> dict[str, Any]:
    return {"id": request_id, "status": status, "error": error, "rateLimits": []}
