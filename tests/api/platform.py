"""A whole API on a real socket: real records, Valkey, limits, kill switch, orders and prices. Only
the exchange is scripted, so that a test can choose what it answers.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from starlette.types import ASGIApp

from tests.builders import an_instrument
from trading_platform.api.app import build_app
from trading_platform.api.ports import Services
from trading_platform.api.server import server_config
from trading_platform.api.stream import Stream
from trading_platform.cache.link import Link
from trading_platform.cache.valkey import start_embedded
from trading_platform.exchanges.credential_rows import CredentialRows
from trading_platform.exchanges.credentials import CredentialService
from trading_platform.exchanges.key_rotation import KeyRotation
from trading_platform.exchanges.ports import (
    Accepted,
    CancelOutcome,
    Found,
    LookUp,
    LookUpFailed,
    MarketSink,
    PlaceOutcome,
    Trading,
    Unknown,
)
from trading_platform.exchanges.rights import KeyRights, rights_of
from trading_platform.exchanges.standing import Standing
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.limits.limiter import Limiter
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, ExchangeMode, Instrument
from trading_platform.market.orders import Fill, Order, OrderReport, OrderStatus
from trading_platform.observability.health import Health
from trading_platform.observability.logs import create_log
from trading_platform.observability.metrics import Metrics
from trading_platform.orders.manager import OrderManager
from trading_platform.prices.feeds import PriceFeedManager
from trading_platform.safety.service import SafetyService
from trading_platform.secrets.custody import ExchangeCustody
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.opening import open_local_vault
from trading_platform.storage.records import Records
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.model import Permission, Tier
from trading_platform.tenants.service import TenantService

INSTRUMENTS: Mapping[ExchangeId, Mapping[str, Instrument]] = {
    ExchangeId.BINANCE: {
        "BTC-USDT": an_instrument(),
        "ETH-USDT": an_instrument(symbol="ETH-USDT", exchange_symbol="ETHUSDT", base="ETH"),
    },
    ExchangeId.COINBASE: {
        "BTC-USDT": an_instrument(exchange_id=ExchangeId.COINBASE, exchange_symbol="BTC-USDT"),
    },
}


def report(order: Order, status: OrderStatus, **changes: Any) -> OrderReport:
    """What the exchange would say of `order`."""
    fields: dict[str, Any] = {
        "exchange_order_id": f"X{order.order_id[-8:]}",
        "client_order_id": order.client_order_id,
        "exchange_symbol": "BTCUSDT",
        "status": status,
        "filled_quantity": Decimal(0),
        "filled_notional": Decimal(0),
        "event_at": datetime.now(UTC),
        **changes,
    }
    return OrderReport(**fields)


class ScriptedAccount:
    """An account whose next answers the test chooses; open orders unless told otherwise."""

    acceptance_window_s = 60.0

    def __init__(self, exchange_id: ExchangeId) -> None:
        self.exchange_id = exchange_id
        self.answers: list[PlaceOutcome] = []
        self.placed: list[Order] = []
        self.statuses: dict[str, OrderStatus] = {}

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        self.placed.append(order)
        if self.answers:
            answer = self.answers.pop(0)
            if not isinstance(answer, Accepted):
                return answer
        self.statuses[order.client_order_id] = OrderStatus.OPEN
        return Accepted(report(order, OrderStatus.OPEN))

    async def cancel(self, order: Order, instrument: Instrument) -> CancelOutcome:
        if order.client_order_id not in self.statuses:
            return Unknown("the line is dead")
        self.statuses[order.client_order_id] = OrderStatus.CANCELED
        return Accepted(report(order, OrderStatus.CANCELED))

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        status = self.statuses.get(order.client_order_id)
        return LookUpFailed("the line is dead") if status is None else Found(report(order, status))

    async def open_orders(self) -> Sequence[OrderReport]:
        return ()

    async def fills(self, order: Order, instrument: Instrument) -> Sequence[Fill]:
        return ()

    async def recent_orders(self, instrument: Instrument, since: datetime) -> Sequence[OrderReport]:
        return ()

    async def balances(self) -> Sequence[Balance]:
        return (Balance(currency="USDT", free=Decimal("1E+3"), held=Decimal("0.50")),)


class ScriptedProber:
    """What the exchange says of every key: fit for trading, unless the test says otherwise."""

    def __init__(self) -> None:
        self.answers: list[KeyRights | ServiceError] = []

    def mode(self, exchange_id: ExchangeId) -> ExchangeMode:
        return ExchangeMode.SIMULATED

    async def probe(self, exchange_id: ExchangeId, credentials: ExchangeCredentials) -> KeyRights:
        answer = self.answers.pop(0) if self.answers else rights_of([FIT])
        if isinstance(answer, ServiceError):
            raise answer
        return answer


class _NoSessions:
    def renew(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        pass

    async def end(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        pass


FIT = {"read": True, "trade": True, "withdraw": False, "transfer": False, "ip_restricted": True}


async def a_credential_service(
    folder: Path,
    records: Records,
    audit: AuditLog,
    bus: Bus,
    clock: Clock,
    log: Any,
    prober: ScriptedProber,
) -> CredentialService:
    """The credential flow on a real vault."""
    vault = await open_local_vault(records, folder, clock)
    manager = SecretsManager(vault.store, audit, clock, environment="test", log=log)
    return CredentialService(
        CredentialRows(records),
        ExchangeCustody(manager),
        prober,
        audit,
        _NoSessions(),
        Standing(),
        bus,
        clock,
        log,
    )


class ScriptedExchanges:
    """Both exchanges: instruments, accounts, and market data that the test feeds by hand."""

    def __init__(self) -> None:
        self.accounts: dict[tuple[str, ExchangeId], ScriptedAccount] = {}
        self.sinks: dict[ExchangeId, MarketSink] = {}
        self.down: set[ExchangeId] = set()
        self.prober = ScriptedProber()

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]:
        if exchange_id in self.down:
            raise ServiceError(f"{exchange_id} does not answer.", "EXCHANGE_UNAVAILABLE")
        return INSTRUMENTS[exchange_id]

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        found = (await self.instruments(exchange_id)).get(symbol)
        if found is None:
            raise ServiceError(f"{exchange_id} does not trade {symbol}.", "NOT_FOUND")
        return found

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        return self.account(tenant_id, exchange_id)

    def account(self, tenant_id: str, exchange_id: ExchangeId) -> ScriptedAccount:
        made = ScriptedAccount(exchange_id)
        return self.accounts.setdefault((tenant_id, exchange_id), made)

    def market_stream(
        self, exchange_id: ExchangeId, exchange_symbols: Sequence[str], sink: MarketSink
    ) -> "_Silence":
        self.sinks[exchange_id] = sink
        return _Silence()


class _Silence:
    async def run(self) -> None:
        await asyncio.Event().wait()


class _Nobody:
    def offer(self, batch: Sequence[Any]) -> None:
        pass


@dataclass(frozen=True)
class Member:
    """A tenant's key and the headers that carry it."""

    tenant_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@dataclass
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Api:
    """The running API and the parts behind it."""

    url: str
    services: Services
    tenants: TenantService
    exchanges: ScriptedExchanges
    session: aiohttp.ClientSession
    link: Link
    log: StringIO
    numbers: list[int] = field(default_factory=lambda: [0])

    async def member(
        self,
        tier: Tier = Tier.ENTERPRISE,
        permissions: Sequence[Permission] = (Permission.ADMIN,),
    ) -> Member:
        """A new tenant with a key."""
        tenant = await self.tenants.create_tenant("A tenant", tier)
        _, key = await self.tenants.create_api_key(
            tenant.tenant_id, name="a key", permissions=permissions
        )
        return Member(tenant.tenant_id, key)

    async def call(
        self,
        method: str,
        path: str,
        member: Member | None = None,
        body: Any = None,
        **headers: str,
    ) -> Reply:
        """One request. `body`: bytes as they are, anything else as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if member is not None:
            sent = {**member.headers, **sent}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as got:
            text = await got.read()
            kind = got.headers.get("Content-Type", "")
            parsed = json.loads(text) if "json" in kind and text else text
            return Reply(got.status, got.headers.copy(), parsed)

    async def submit(self, member: Member, key: str = "", **changes: Any) -> Reply:
        """POST /v1/orders with a body that works, changed; a fresh key unless one is given."""
        self.numbers[0] += 1
        body = {name: value for name, value in {**ORDER, **changes}.items() if value is not ...}
        key = key or f"key-{self.numbers[0]}"
        return await self.call("POST", "/v1/orders", member, body, Idempotency_Key=key)


ORDER: dict[str, Any] = {
    "exchangeId": "BINANCE",
    "symbol": "BTC-USDT",
    "side": "BUY",
    "orderType": "LIMIT",
    "quantity": "0.001",
    "price": "60000",
}


@contextlib.asynccontextmanager
async def running_api(folder: Path, **stream: float) -> AsyncIterator[Api]:
    """Everything started, on a free port of 127.0.0.1; `stream` goes to Stream."""
    clock, bus, log_text = SystemClock(), Bus(), StringIO()
    log = create_log("api", stream=log_text)
    async with contextlib.AsyncExitStack() as stack:
        valkey = await start_embedded(folder / "valkey")
        stack.push_async_callback(valkey.close)
        link = Link(valkey.url)
        stack.push_async_callback(link.close)
        records = await SqliteRecords.open(folder / "records.sqlite")
        stack.push_async_callback(records.close)
        supervisor = Supervisor(log)
        audit = AuditLog(records, clock)
        tenants = TenantService(records, b"p" * 32, clock, audit)
        limiter = Limiter(link, clock)
        safety = SafetyService(records, link, limiter, bus, clock, audit=audit)
        stack.push_async_callback(safety.close)
        exchanges = ScriptedExchanges()
        orders = OrderManager(
            records, exchanges, safety, bus, clock, log, deployment_lead="0a1b2c3d"
        )
        prices = PriceFeedManager(
            exchanges, _Nobody(), supervisor, clock, {}, log=log, interval_s=0.01
        )
        stack.push_async_callback(supervisor.close)
        stack.push_async_callback(orders.close)
        await safety.load()
        supervisor.start("safety", safety.run)
        for exchange_id in INSTRUMENTS:
            await prices.start_feed(exchange_id, ["BTC-USDT"])
        await orders.recover()
        health = Health(clock, keep_s=0.0)
        credentials = await a_credential_service(
            folder, records, audit, bus, clock, log, exchanges.prober
        )
        services = Services(
            credentials=credentials,
            rotation=KeyRotation(credentials),
            tenants=tenants,
            limiter=limiter,
            safety=safety,
            audit=audit,
            orders=orders,
            prices=prices,
            exchanges=exchanges,
            exchange_ids=tuple(INSTRUMENTS),
            bus=bus,
            health=health,
            metrics=Metrics(),
            clock=clock,
            log=log,
            version="0.1.0",
        )
        url = await stack.enter_async_context(
            _served(build_app(services, Stream(services, **stream)))
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Api(url, services, tenants, exchanges, session, link, log_text)


@contextlib.asynccontextmanager
async def _served(app: ASGIApp) -> AsyncIterator[str]:
    server = uvicorn.Server(server_config(app, host="127.0.0.1", port=0))
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]  # pytest's own signals
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody when it is ready
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    server.force_exit = True
    await task
