"""A small simulated Coinbase Exchange to trade on: two products, one funded account."""

import base64
import time
from decimal import Decimal

import aiohttp
import msgspec

from trading_platform.kit.clock import Clock
from trading_platform.market.orders import Side
from trading_platform.simulation.coinbase_security import signature
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import FeeRule, SimKey, SimulatedInstrument

D = Decimal
BTC, ETH = "BTC-USD", "ETH-USD"
API_KEY, PASSPHRASE = "8f3c2b7a90d14e5f", "open-sesame"
SECRET = base64.b64encode(bytes(range(64))).decode()
FUNDS = {"USD": D(100_000), "BTC": D(2)}


def a_product(symbol: str = BTC, **changes: object) -> SimulatedInstrument:
    base, quote = symbol.split("-")
    return msgspec.structs.replace(
        SimulatedInstrument(
            symbol=symbol,
            exchange_symbol=symbol,
            base=base,
            quote=quote,
            price_increment=D("0.01"),
            quantity_increment=D("0.00000001"),
            notional_min=D(1),
            orders_max=500,
        ),
        **changes,
    )


def a_coinbase_exchange(clock: Clock, **options: object) -> tuple[SimulatedExchange, SimKey]:
    """The exchange and the key of its only account."""
    exchange = SimulatedExchange(
        [a_product(), a_product(ETH, synthetic=True)],
        clock=clock,
        fee_maker=D("0.004"),
        fee_taker=D("0.006"),
        fee_rule=FeeRule.QUOTE,
        **options,  # type: ignore[arg-type]  # a test names the option it means
    )
    return exchange, exchange.open_account(API_KEY, SECRET, PASSPHRASE, FUNDS)


def a_liquid_book(exchange: SimulatedExchange) -> None:
    """Five levels a side around 60,000, one BTC each, and one public trade."""
    bids = [(D(60_000) - step, D(1)) for step in range(5)]
    asks = [(D(60_001) + step, D(1)) for step in range(5)]
    exchange.set_levels(BTC, bids, asks)
    exchange.external_trade(BTC, D(60_000), D("0.5"), Side.SELL)


def signed_headers(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    api_key: str = API_KEY,
    secret: str = SECRET,
    passphrase: str = PASSPHRASE,
    timestamp: str | None = None,
) -> dict[str, str]:
    """What a client sends with a signed request."""
    timestamp = timestamp or f"{time.time():.3f}"
    return {
        "CB-ACCESS-KEY": api_key,
        "CB-ACCESS-PASSPHRASE": passphrase,
        "CB-ACCESS-TIMESTAMP": timestamp,
        "CB-ACCESS-SIGN": signature(secret, timestamp, method, path, body),
    }


def feed_login(timestamp: str | int | None = None) -> dict[str, object]:
    """The login fields of a subscribe frame."""
    timestamp = timestamp if timestamp is not None else int(time.time())
    return {
        "key": API_KEY,
        "passphrase": PASSPHRASE,
        "timestamp": timestamp,
        "signature": signature(SECRET, str(timestamp), "GET", "/users/self/verify", b""),
    }


class Reply(msgspec.Struct, frozen=True):
    """Status, decoded body and headers of an answer."""

    status: int
    body: object
    headers: dict[str, str]

    def row(self) -> dict[str, object]:
        """The body as an object."""
        assert isinstance(self.body, dict), self.body
        return self.body

    def rows(self) -> list[dict[str, object]]:
        """The body as a list of objects."""
        assert isinstance(self.body, list), self.body
        return self.body


class Client:
    """Speaks REST to the server, signing where asked."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self.url = http, url

    async def get(self, path: str, **headers: str) -> Reply:
        """Unsigned."""
        return await self._send("GET", path, b"", headers)

    async def signed(self, method: str, path: str, body: object = None, **how: str) -> Reply:
        """Signed; a body that is bytes goes as it is."""
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        headers = signed_headers(method, path, raw, **how)
        return await self._send(method, path, raw, headers | {"Content-Type": "application/json"})

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        async with self._http.request(
            method, self.url + path, data=body or None, headers=headers
        ) as answer:
            raw = await answer.read()
            kind = answer.headers.get("Content-Type", "")
            decoded = msgspec.json.decode(raw) if "json" in kind else raw.decode()
            return Reply(answer.status, decoded, {k.upper(): v for k, v in answer.headers.items()})
