"""Every success and every error path that a secret can take through a running platform."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from trading_platform.api.app import TABLE
from trading_platform.market.instruments import ExchangeId
from trading_platform.simulation.credentials import SimulatedKeys
from trading_platform.tenants.audit import AuditLog

PLACES = {
    "orderId": "order-01",
    "symbol": "BTC-USDT",
    "exchangeId": "BINANCE",
    "clientOrderId": "none",
}


@dataclass
class Outside:
    """A client, and everything that it was ever answered."""

    url: str
    session: aiohttp.ClientSession
    heard: dict[str, list[bytes]] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, key: str | None, body: Any = None, **headers: str
    ) -> int:
        """One request; its answer is kept whole."""
        sent = {"Idempotency-Key": "canary", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(method, self.url + path, data=data, headers=sent) as got:
            answer = b"%r %r " % (got.status, dict(got.headers)) + await got.read()
            self.heard.setdefault(f"answers to {method} {path[:40]}", []).append(answer)
            return got.status

    async def stream(self, key: str, first: Any) -> None:
        """A WebSocket that says `first` and hears what comes for a moment."""
        heard = self.heard.setdefault("answers of the stream", [])
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.ws_connect(f"{self.url}/v1/stream", headers=headers) as socket:
            await socket.send_str(first if isinstance(first, str) else json.dumps(first))
            for _ in range(3):
                try:
                    message = await socket.receive(timeout=0.5)
                except TimeoutError:
                    break
                heard.append(repr(message).encode())
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break

    def hay(self) -> dict[str, bytes]:
        """All answers."""
        return {where: b"\n".join(answers) for where, answers in self.heard.items()}


def paths() -> list[tuple[str, str, Mapping[str, Any] | None]]:
    """Every operation with something in its path, and a body that works where it has one."""
    return [(each.method, _filled(each.path), each.example) for each in TABLE]


def _filled(path: str) -> str:
    for name, value in PLACES.items():
        path = path.replace("{" + name + "}", value)
    return path


async def knock_everywhere(outside: Outside, keys: list[str]) -> None:
    """Each operation with each of the keys, most of which do not open it."""
    for method, path, example in paths():
        if path.endswith("revoke-all"):
            continue
        for key in keys:
            await outside.call(method, path, key, dict(example) if example else None)


def misshapen(secret: str, body: Mapping[str, Any]) -> list[tuple[Any, dict[str, str]]]:
    """Bodies with a secret in every place where it does not belong."""
    text = json.dumps({**body, "apiSecret": secret})
    return [
        (text[:-1].encode(), {}),
        (text.encode() + b"}", {}),
        (text.encode("utf-16"), {}),
        (text.encode().replace(secret.encode(), secret.encode() + b"\xff"), {}),
        (secret.encode(), {}),
        (json.dumps(secret).encode(), {}),
        ({**body, secret: "x"}, {}),
        ({**body, "apiSecret": [secret]}, {}),
        ({**body, "apiSecret": {"text": secret}}, {}),
        ({**body, "apiSecret": secret, "passphrase": 7}, {}),
        ({**body, "apiSecret": secret, "subAccountId": secret}, {}),
        ({**body, "apiSecret": secret + "x" * 70_000}, {}),
        ({**body, "apiSecret": secret}, {"Content_Type": "text/plain"}),
        ({**body, "apiSecret": f" {secret}\n"}, {}),
        ({"apiKey": secret, "apiSecret": body.get("apiKey", "a key")}, {}),
        ({"apiKey": secret, "apiSecret": secret}, {}),
    ]


async def hand_in(outside: Outside, key: str, keys: SimulatedKeys, wrong: list[str]) -> None:
    """The life of a credential: refused in every way, taken, used, rotated, shredded."""
    for exchange_id in ExchangeId:
        base = f"/v1/exchanges/{exchange_id}/credentials"
        body = {"apiKey": keys.api_key, "apiSecret": keys.api_secret}
        if exchange_id is ExchangeId.COINBASE:
            body["passphrase"] = keys.passphrase
        for path, method in ((base, "PUT"), (f"{base}/rotation", "POST")):
            for secret in [*wrong, keys.api_secret]:
                for misshape, headers in misshapen(secret, body):
                    await outside.call(method, path, key, misshape, **headers)
            for secret in wrong:
                await outside.call(method, path, key, {**body, "apiSecret": secret})
                await outside.call(method, path, key, {**body, "passphrase": secret})
        assert await outside.call("PUT", base, key, body) == 200
        assert await outside.call("GET", base, key) == 200
        assert await outside.call("POST", f"{base}/validate", key) == 200
        await outside.call("POST", f"{base}/rotation", key, body)
        for step in ("test", "switch", "retire"):
            await outside.call("POST", f"{base}/rotation/{step}", key)
        await outside.call("GET", f"/v1/balances?exchangeId={exchange_id}", key)
        await _trade(outside, key, exchange_id)


async def _trade(outside: Outside, key: str, exchange_id: ExchangeId) -> None:
    order = {
        "exchangeId": exchange_id,
        "symbol": "BTC-USDT" if exchange_id is ExchangeId.BINANCE else "BTC-USD",
        "side": "BUY",
        "orderType": "LIMIT",
        "quantity": "0.001",
        "price": "20000",
    }
    for number, changes in enumerate(({}, {"quantity": "1000"}, {"price": "0.001"})):
        await outside.call(
            "POST",
            "/v1/orders",
            key,
            {**order, **changes},
            Idempotency_Key=f"{exchange_id}{number}",
        )
    await outside.call("GET", "/v1/orders", key)


async def shred(outside: Outside, key: str) -> None:
    """Everything ends."""
    assert await outside.call("DELETE", "/v1/exchanges/BINANCE/credentials", key) == 200
    await outside.call("POST", "/v1/credentials/revoke-all", key, {"reason": "drill"})
    await _trade(outside, key, ExchangeId.BINANCE)


async def audit_hay(audit: AuditLog, logs: list[str]) -> dict[str, bytes]:
    """The logs as exported."""
    from trading_platform.tenants.audit_chain import line

    return {
        f"audit log {log}": "\n".join(
            [line(entry) async for entry in audit.all_entries(log)]
        ).encode()
        for log in logs
    }


async def settle() -> None:
    """Let what was set off in the background happen."""
    await asyncio.sleep(0.1)
