"""The composition root: makes every part once, hands each what it needs, and stops them in turn."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from trading_platform.accounts import Accounts, Guards, StoredCredentials
from trading_platform.api.app import build_app
from trading_platform.api.ports import Services
from trading_platform.cache.link import Link
from trading_platform.cache.service import CacheService
from trading_platform.cache.valkey import start_embedded
from trading_platform.exchanges.credential_rows import CredentialRows
from trading_platform.exchanges.credential_watch import CredentialWatch
from trading_platform.exchanges.credentials import CredentialService
from trading_platform.exchanges.endpoints import TABLE, Endpoints, simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.key_rotation import KeyRotation
from trading_platform.exchanges.prober import Prober
from trading_platform.exchanges.standing import Standing
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.kit.tasks import Supervisor
from trading_platform.limits.limiter import Limiter
from trading_platform.market.instruments import ExchangeId
from trading_platform.observability.health import Health
from trading_platform.observability.metrics import Metrics
from trading_platform.opening import ENVIRONMENT, locked, open_file, open_secrets, tenants_of
from trading_platform.orders.manager import OrderManager
from trading_platform.prices.feeds import PriceFeedManager
from trading_platform.prices.store import PriceStore
from trading_platform.safety.service import SafetyService
from trading_platform.secrets.custody import ExchangeCustody
from trading_platform.secrets.manager import SecretsManager
from trading_platform.server import ApiServer, listen
from trading_platform.settings import ExchangeSetting, Settings
from trading_platform.storage.records import Key, Records
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import TENANTS
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.service import TenantService
from trading_platform.vitals import CountedPublisher, watch_feeds

DEPLOYMENT_FILE = "deployment-id"
PURGE_EVERY_S = 30.0


class Platform:
    """What runs."""

    def __init__(self, url: str, tenants: TenantService, credentials: CredentialService) -> None:
        self.url = url
        self.tenants = tenants
        self.credentials = credentials


@asynccontextmanager
async def open_platform(settings: Settings, log: Any) -> AsyncIterator[Platform]:
    """Everything, started in order and stopped in the reverse one.

    Raises ServiceError UNUSABLE_DATA for a data folder or port that cannot be used.
    """
    clock, bus, metrics, health = SystemClock(), Bus(), Metrics(), Health(SystemClock())
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(locked(settings.data))
        bound = stack.enter_context(listen(settings.host, settings.port))
        supervisor = Supervisor(log)
        records, valkey_url = await asyncio.gather(
            open_file(settings.data, stack), _open_valkey(settings, supervisor, stack)
        )
        link, cache = Link(valkey_url), CacheService(valkey_url)
        stack.push_async_callback(link.close)
        stack.push_async_callback(cache.close)
        await link.call("PING")  # a wrong address is said now, not at the first order

        audit = AuditLog(records, clock)
        tenants = tenants_of(records, folder, clock, audit)
        limiter = Limiter(link, clock)
        safety = SafetyService(
            records, link, limiter, bus, clock, log=log, subscribe=cache.subscribe, audit=audit
        )
        stack.push_async_callback(safety.close)
        manager = SecretsManager(
            await open_secrets(records, settings.data, clock, stack),
            audit,
            clock,
            environment=ENVIRONMENT,
            publish=cache.publish,
            subscribe=cache.subscribe,
            log=log,
        )
        custody, standing = ExchangeCustody(manager), Standing()
        modes = {exchange_id: each.mode for exchange_id, each in settings.exchanges.items()}
        stored = StoredCredentials(custody, standing, modes)
        guards = Guards(safety.may_send, standing.may_send)
        factory = ExchangeFactory(
            endpoints_of(settings.exchanges), stored, clock, log, may_send=guards.may_send
        )
        stack.push_async_callback(factory.close)
        await factory.start()
        accounts = Accounts(factory, supervisor, stored, custody)
        credentials = CredentialService(
            CredentialRows(records),
            custody,
            Prober(factory, modes),
            audit,
            accounts,
            standing,
            bus,
            clock,
            log,
        )
        rotation = KeyRotation(credentials)
        watch = CredentialWatch(credentials, rotation)
        accounts.on_refused = watch.on_authentication_failure
        orders = OrderManager(
            records,
            accounts,
            guards,
            bus,
            clock,
            log,
            deployment_lead=folder.private_bytes(DEPLOYMENT_FILE, _new_deployment).decode(),
        )
        accounts.on_report, accounts.on_gap = orders.on_report, orders.poll_soon
        published = PriceStore(link, log)
        prices = PriceFeedManager(
            factory, CountedPublisher(published, metrics), supervisor, clock, {}, log=log
        )

        stack.push_async_callback(supervisor.close)
        stack.push_async_callback(orders.close)
        await safety.load()
        await watch.load()
        supervisor.start("secrets", manager.run)
        supervisor.start("credentials", watch.run)
        supervisor.start("safety", safety.run)
        supervisor.start("price store", published.run)
        supervisor.start("vitals", partial(watch_feeds, prices, metrics, clock))
        supervisor.start("purge", partial(_purge, records, clock))
        _start_feeds(prices, factory, supervisor, settings, log)
        _watch_health(health, records, link, prices, settings)
        await orders.recover()
        supervisor.start("orders", orders.run)

        services = Services(
            tenants=tenants,
            limiter=limiter,
            safety=safety,
            audit=audit,
            credentials=credentials,
            rotation=rotation,
            orders=orders,
            prices=prices,
            exchanges=factory,
            exchange_ids=tuple(settings.exchanges),
            bus=bus,
            health=health,
            metrics=metrics,
            clock=clock,
            log=log,
        )
        server = ApiServer(build_app(services), bound)
        stack.push_async_callback(server.close)
        await server.start()
        folder.say({"url": server.url})
        yield Platform(server.url, tenants, credentials)


async def _open_valkey(settings: Settings, supervisor: Supervisor, stack: AsyncExitStack) -> str:
    if settings.valkey_url:
        return settings.valkey_url
    server = await start_embedded(settings.data / "valkey")
    stack.push_async_callback(server.close)
    supervisor.start("valkey", server.watch)
    return server.url


def _new_deployment() -> bytes:
    return secrets.token_hex(4).encode()


def endpoints_of(exchanges: Mapping[ExchangeId, ExchangeSetting]) -> dict[ExchangeId, Endpoints]:
    """Where each exchange lives."""
    return {
        exchange_id: simulated(exchange_id, setting.url)
        if setting.url
        else TABLE[exchange_id][setting.mode]
        for exchange_id, setting in exchanges.items()
    }


def _start_feeds(
    prices: PriceFeedManager,
    factory: ExchangeFactory,
    supervisor: Supervisor,
    settings: Settings,
    log: Any,
) -> None:
    """Stream what each exchange lists of the wanted symbols; one that is down holds up no other."""

    async def start(exchange_id: ExchangeId) -> None:
        instruments = await factory.instruments(exchange_id)
        wanted = {symbol for symbol in settings.symbols if symbol in instruments}
        await prices.start_feed(exchange_id, wanted)
        unlisted = sorted(set(settings.symbols) - set(prices.symbols()))
        if unlisted and len(prices.feeds()) == len(settings.exchanges):
            log.warning("no exchange lists these symbols", symbols=unlisted)

    for exchange_id in settings.exchanges:
        supervisor.start(f"start feed {exchange_id}", partial(start, exchange_id))


async def _purge(records: SqliteRecords, clock: Clock) -> None:
    """Remove expired rows, a few at a time, for ever."""
    while True:
        await clock.sleep(PURGE_EVERY_S)
        await records.purge_expired()


def _watch_health(
    health: Health, records: Records, link: Link, prices: PriceFeedManager, settings: Settings
) -> None:
    """What must work for this platform to be ready."""

    async def can_read() -> str | None:
        await records.get(TENANTS, Key("readiness", "readiness"))
        return None

    async def can_limit() -> str | None:
        await link.call("PING")
        return None

    async def feeds() -> str | None:
        running = {status.exchange_id for status in prices.feeds() if status.connected}
        silent = sorted(set(settings.exchanges) - running)
        return f"no market data from {', '.join(silent)}" if silent else None

    health.add("records", can_read)
    health.add("valkey", can_limit)
    health.add("feeds", feeds, required=False)
