"""Lambda entry points for secrets. Everything is made inside a call: what a snapshot of a started
function would share between copies (randomness, clocks, connections) never is.

Environment: TRADING_PLATFORM_EXCHANGES (`BINANCE=PRODUCTION,COINBASE=SANDBOX`) for the rotation,
TRADING_PLATFORM_VALKEY_URL for the events; AWS_REGION and AWS_ENDPOINT_URL as everywhere.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any, Never

import structlog

from trading_platform.app import endpoints_of
from trading_platform.aws.rotation import Event, Rotation, changed_path
from trading_platform.cache.service import CacheService
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.prober import Prober
from trading_platform.exchanges.rights import judge
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.manager import CHANNEL
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.opening import open_secrets_manager
from trading_platform.secrets.paths import SecretName
from trading_platform.secrets.payloads import Credentials
from trading_platform.secrets.place import parse_place
from trading_platform.settings import PREFIX, ExchangeSetting, parse_exchanges


def rotate(event: Event, context: Any = None) -> None:
    """One step of a rotation; an exception tells Secrets Manager that the step failed."""
    asyncio.run(_rotate(event))


def secret_changed(event: Event, context: Any = None) -> str | None:
    """An EventBridge event: every process forgets the secret that changed; its path."""
    path = changed_path(event)
    if path is not None:
        asyncio.run(_announce(path))
    return path


async def _rotate(event: Event) -> None:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        place = parse_place(
            "secrets-manager",
            region=os.environ.get("AWS_REGION"),
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
        )
        store = await open_secrets_manager(place, clock, stack)
        named = [text for text in os.environ.get(f"{PREFIX}EXCHANGES", "").split(",") if text]
        exchanges = parse_exchanges(named)
        factory = ExchangeFactory(
            endpoints_of(exchanges), _NoCredentials(), clock, structlog.get_logger()
        )
        stack.push_async_callback(factory.close)
        await factory.start()
        await Rotation(store, _Tester(factory, exchanges).test).step(event)


async def _announce(path: str) -> None:
    url = os.environ.get(f"{PREFIX}VALKEY_URL")
    if not url:
        raise ServiceError(f"{PREFIX}VALKEY_URL is not set", "INVALID_REQUEST")
    cache = CacheService(url)
    try:
        await cache.publish(CHANNEL, path.encode())
    finally:
        await cache.close()


class _Tester:
    """Asks the exchange itself, and judges as when a tenant stores a key."""

    def __init__(
        self, factory: ExchangeFactory, exchanges: dict[ExchangeId, ExchangeSetting]
    ) -> None:
        modes = {exchange_id: setting.mode for exchange_id, setting in exchanges.items()}
        self._prober = Prober(factory, modes)

    async def test(self, name: SecretName, credentials: Credentials) -> None:
        """NOT_PERMITTED for a key that must not be used; other errors when nobody can say."""
        if not isinstance(credentials, ExchangeCredentials):
            raise ServiceError(
                f"nothing here can test a key of {name.provider}; switch it by hand", "CONFLICT"
            )
        exchange_id = ExchangeId(name.provider.upper())
        rights = await self._prober.probe(exchange_id, credentials)
        refusal = judge(exchange_id, rights, self._prober.mode(exchange_id))
        if refusal is not None:
            raise ServiceError(refusal.message, "NOT_PERMITTED")


class _NoCredentials:
    """Only keys on probation are used here."""

    async def get_exchange_credentials(self, tenant_id: str, exchange_id: ExchangeId) -> Never:
        raise ServiceError("a rotation uses no stored key", "NOT_FOUND")
