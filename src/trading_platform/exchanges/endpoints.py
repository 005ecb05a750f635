"""Where each exchange lives. Accounts under EU (MiCA) terms use other Coinbase hosts."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, ExchangeMode


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Base addresses of one environment: REST, public market stream, authenticated user stream."""

    rest: str
    market_ws: str
    user_ws: str


_BINANCE: Mapping[ExchangeMode, Endpoints] = {
    ExchangeMode.PRODUCTION: Endpoints(
        rest="https://api.binance.com",
        market_ws="wss://stream.binance.com:9443/ws",
        user_ws="wss://ws-api.binance.com:443/ws-api/v3",
    ),
    # The stream host moved in 2025; wss://testnet.binance.vision/ws answers no more.
    ExchangeMode.SANDBOX: Endpoints(
        rest="https://testnet.binance.vision",
        market_ws="wss://stream.testnet.binance.vision/ws",
        user_ws="wss://ws-api.testnet.binance.vision/ws-api/v3",
    ),
}

_COINBASE: Mapping[ExchangeMode, Endpoints] = {
    ExchangeMode.PRODUCTION: Endpoints(
        rest="https://api.exchange.coinbase.com",
        market_ws="wss://ws-feed.exchange.coinbase.com",
        user_ws="wss://ws-feed.exchange.coinbase.com",
    ),
    ExchangeMode.SANDBOX: Endpoints(
        rest="https://api-public.sandbox.exchange.coinbase.com",
        market_ws="wss://ws-feed-public.sandbox.exchange.coinbase.com",
        user_ws="wss://ws-feed-public.sandbox.exchange.coinbase.com",
    ),
}

TABLE: Mapping[ExchangeId, Mapping[ExchangeMode, Endpoints]] = {
    ExchangeId.BINANCE: _BINANCE,
    ExchangeId.COINBASE: _COINBASE,
}

COINBASE_EU: Mapping[ExchangeMode, Endpoints] = {
    ExchangeMode.PRODUCTION: Endpoints(
        rest="https://api-us.dma.prime.coinbase.com",
        market_ws="wss://ws-us.dma.prime.coinbase.com",
        user_ws="wss://ws-us.dma.prime.coinbase.com",
    ),
    ExchangeMode.SANDBOX: Endpoints(
        rest="https://api-us.dma.sandbox.prime.coinbase.com",
        market_ws="wss://ws-us.dma.sandbox.prime.coinbase.com",
        user_ws="wss://ws-us.dma.sandbox.prime.coinbase.com",
    ),
}

_SIMULATED_PATHS: Mapping[ExchangeId, tuple[str, str]] = {
    ExchangeId.BINANCE: ("/ws", "/ws-api/v3"),
    ExchangeId.COINBASE: ("", ""),
}


def simulated(exchange_id: ExchangeId, base_url: str) -> Endpoints:
    """A simulated exchange: REST at `base_url` (http://127.0.0.1:port), both streams beside it."""
    parts = urlsplit(base_url)
    if parts.scheme != "http" or not parts.netloc:
        raise ServiceError(
            "A simulated exchange has an address such as http://127.0.0.1:9001.", "INVALID_REQUEST"
        )
    market, user = _SIMULATED_PATHS[exchange_id]
    stream = f"ws://{parts.netloc}"
    return Endpoints(
        rest=f"http://{parts.netloc}", market_ws=stream + market, user_ws=stream + user
    )
