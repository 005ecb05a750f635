"""A bare client of the simulated Binance: signs by hand, shows everything that came back."""

import hashlib
import hmac
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp

from tests.unit.simulation.venues import API_KEY, SECRET, a_binance_exchange, a_liquid_book
from trading_platform.kit.clock import ManualClock
from trading_platform.simulation.binance_server import BinanceServer


class Reply(NamedTuple):
    """Status, decoded body, headers."""

    status: int
    body: Any
    headers: Any


class Desk:
    """A running server on a manual clock, and signed calls to it."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.exchange, self.key = a_binance_exchange(self.clock)
        a_liquid_book(self.exchange)
        self.server = BinanceServer(self.exchange, clock=self.clock, **options)
        self.api_key, self.secret = API_KEY, SECRET

    async def __aenter__(self) -> "Desk":
        await self.server.start()
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.server.close()

    @property
    def now_ms(self) -> int:
        """The server's time."""
        return self.clock.time_ns() // 1_000_000

    async def get(self, path: str, **params: Any) -> Reply:
        """A public call."""
        query = urlencode(params)
        return await self._send("GET", f"{path}?{query}" if query else path, {})

    async def signed(self, method: str, path: str, **params: Any) -> Reply:
        """A signed call with everything in the query."""
        pairs = urlencode({"timestamp": self.now_ms, **params})
        query = f"{pairs}&signature={self.sign(pairs)}"
        return await self._send(method, f"{path}?{query}", {"X-MBX-APIKEY": self.api_key})

    async def order(self, side: str = "BUY", kind: str = "LIMIT", **params: Any) -> Reply:
        """POST /api/v3/order; LIMIT orders are GTC unless told."""
        tif = {"timeInForce": "GTC"} if kind == "LIMIT" else {}
        fields = {"symbol": "BTCUSDT", "side": side, "type": kind, **tif, **params}
        fields = {name: value for name, value in fields.items() if value is not None}
        return await self.signed("POST", "/api/v3/order", **fields)

    def sign(self, payload: str) -> str:
        """HMAC-SHA256 in hex."""
        return hmac.new(self.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()

    async def _send(self, method: str, path: str, headers: dict[str, str]) -> Reply:
        url = self.server.url + path
        async with self.http.request(method, url, headers=headers) as response:
            kind = response.headers.get("Content-Type", "")
            body = await (response.json() if "json" in kind else response.text())
            return Reply(response.status, body, response.headers)
