"""The credential flow on real parts: SQLite, the local vault, the audit log, simulated exchanges
on real sockets. Nothing is scripted but time.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec

from tests.unit.exchanges.sinks import Log
from trading_platform.accounts import Accounts, Guards, StoredCredentials
from trading_platform.exchanges.credential_rows import CredentialRow, CredentialRows
from trading_platform.exchanges.credential_watch import CredentialWatch
from trading_platform.exchanges.credentials import CredentialService
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.key_rotation import KeyRotation
from trading_platform.exchanges.prober import Prober
from trading_platform.exchanges.standing import Standing
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.events import CredentialSuspended
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.custody import ExchangeCustody
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.opening import LocalVault, open_local_vault
from trading_platform.simulation.binance_limits import Limits
from trading_platform.simulation.binance_server import BinanceServer
from trading_platform.simulation.coinbase_limits import UNLIMITED
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.market import default_exchanges
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.audit_chain import AuditEntry

TENANT = "tenant-1"
MODES = dict.fromkeys(ExchangeId, ExchangeMode.SIMULATED)
FUNDS = {name: Decimal(1_000_000) for name in ("USDT", "USD", "BTC")}
FIT = frozenset({"READ", "TRADE"})


class LaterClock(SystemClock):
    """The system's clock, which a test can put forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def time_ns(self) -> int:
        return super().time_ns() + self._ahead // timedelta(microseconds=1) * 1000

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead.total_seconds()

    def advance(self, **duration: float) -> None:
        """Put it forward by timedelta(**duration)."""
        self._ahead += timedelta(**duration)


def a_key(exchange_id: ExchangeId, number: int = 1) -> ExchangeCredentials:
    """A key pair in that exchange's own form; the same number gives the same pair."""
    seed = hashlib.sha512(f"{exchange_id} {number}".encode()).digest()
    if exchange_id is ExchangeId.COINBASE:
        return ExchangeCredentials(
            api_key=seed[:16].hex(),
            api_secret=Secret(base64.b64encode(seed).decode()),
            passphrase=Secret(f"passphrase{number}"),
        )
    return ExchangeCredentials(api_key=seed[:32].hex(), api_secret=Secret(seed[32:].hex()))


def opened(secret: Secret | None) -> str | None:
    """Its text; tests may look."""
    return None if secret is None else secret.open()


class House:
    """One process of a platform, as far as credentials go."""

    def __init__(
        self,
        exchanges: Mapping[ExchangeId, SimulatedExchange],
        urls: Mapping[ExchangeId, str],
        records: SqliteRecords,
        vault: LocalVault,
        clock: LaterClock,
        call_timeout_s: float,
    ) -> None:
        self.exchanges = exchanges
        self.records = records
        self.clock = clock
        self.log = Log()
        self.bus = Bus()
        self.suspensions = self.bus.subscribe(CredentialSuspended)
        self.audit = AuditLog(records, clock)
        self.manager = SecretsManager(vault.store, self.audit, clock, environment="test")
        self.custody = ExchangeCustody(self.manager)
        self.standing = Standing()
        self.stored = StoredCredentials(self.custody, self.standing, MODES)
        self.supervisor = Supervisor(self.log)
        self.factory = ExchangeFactory(
            {each: simulated(each, url) for each, url in urls.items()},
            self.stored,
            clock,
            self.log,
            may_send=Guards(self.standing.may_send).may_send,
            call_timeout_s=call_timeout_s,
        )
        self.accounts = Accounts(self.factory, self.supervisor, self.stored, self.custody)
        self.rows = CredentialRows(records)
        self.prober = Prober(self.factory, MODES, timeout_s=2 * call_timeout_s)
        self.service = CredentialService(
            self.rows,
            self.custody,
            self.prober,
            self.audit,
            self.accounts,
            self.standing,
            self.bus,
            clock,
            self.log,
        )
        self.rotation = KeyRotation(self.service)
        self.watch = CredentialWatch(self.service, self.rotation)
        self.accounts.on_refused = self.watch.on_authentication_failure

    def open_account(
        self,
        exchange_id: ExchangeId,
        number: int = 1,
        permissions: frozenset[str] = FIT,
    ) -> ExchangeCredentials:
        """An account at the exchange, and its first key."""
        key = a_key(exchange_id, number)
        self.exchanges[exchange_id].open_account(
            key.api_key,
            key.api_secret.open(),
            opened(key.passphrase),
            FUNDS,
            permissions=permissions,
        )
        return key

    def another_key(
        self, exchange_id: ExchangeId, first: ExchangeCredentials, number: int
    ) -> ExchangeCredentials:
        """One more key of the same account."""
        exchange, key = self.exchanges[exchange_id], a_key(exchange_id, number)
        owner = exchange.key(first.api_key)
        assert owner is not None
        exchange.add_key(
            msgspec.structs.replace(
                owner,
                api_key=key.api_key,
                secret=key.api_secret.open(),
                passphrase=opened(key.passphrase),
            )
        )
        return key

    def permit(self, exchange_id: ExchangeId, key: ExchangeCredentials, *rights: str) -> None:
        """New rights of a key, as its owner sets them at the exchange."""
        exchange = self.exchanges[exchange_id]
        known = exchange.key(key.api_key)
        assert known is not None
        exchange.add_key(msgspec.structs.replace(known, permissions=frozenset(rights)))

    async def submit(self, exchange_id: ExchangeId, key: ExchangeCredentials) -> CredentialRow:
        """As the tenant would."""
        return await self.service.submit(TENANT, exchange_id, key, actor="key-1")

    async def entries(self, tenant_id: str = TENANT) -> list[AuditEntry]:
        """The tenant's audit log, oldest first."""
        return list((await self.audit.entries(tenant_id, limit=1000))[0])

    async def actions(self) -> list[str]:
        """What was written down, oldest first."""
        return [entry.action for entry in await self.entries()]


@asynccontextmanager
async def a_house(
    folder: Path,
    *,
    exchanges: Mapping[ExchangeId, SimulatedExchange] | None = None,
    call_timeout_s: float = 2.0,
) -> AsyncIterator[House]:
    """Everything started; `exchanges` of another house live on in this one."""
    async with (
        some_exchanges(exchanges) as (cores, urls),
        a_process(folder, cores, urls, call_timeout_s=call_timeout_s) as house,
    ):
        yield house


@asynccontextmanager
async def some_exchanges(
    exchanges: Mapping[ExchangeId, SimulatedExchange] | None = None,
) -> AsyncIterator[tuple[Mapping[ExchangeId, SimulatedExchange], dict[ExchangeId, str]]]:
    """Both exchanges on loopback, without anybody's account."""
    clock = SystemClock()
    cores = exchanges or default_exchanges(clock)
    wide = Limits(
        weight_per_minute=10**9,
        raw_per_5_minutes=10**9,
        orders_per_10_s=10**9,
        orders_per_day=10**9,
    )
    binance = BinanceServer(
        cores[ExchangeId.BINANCE], host="127.0.0.1", port=0, clock=clock, limits=wide
    )
    coinbase = CoinbaseServer(
        cores[ExchangeId.COINBASE], host="127.0.0.1", port=0, clock=clock, limits=UNLIMITED
    )
    await binance.start()
    await coinbase.start()
    try:
        yield cores, {ExchangeId.BINANCE: binance.url, ExchangeId.COINBASE: coinbase.url}
    finally:
        await binance.close()
        await coinbase.close()


@asynccontextmanager
async def a_process(
    folder: Path,
    exchanges: Mapping[ExchangeId, SimulatedExchange],
    urls: Mapping[ExchangeId, str],
    *,
    clock: LaterClock | None = None,
    call_timeout_s: float = 2.0,
) -> AsyncIterator[House]:
    """A process on the data in `folder`; several may run at once, or one after a crash."""
    clock = clock or LaterClock()
    records = await SqliteRecords.open(folder / "records.sqlite")
    vault = await open_local_vault(records, folder, clock)
    house = House(exchanges, urls, records, vault, clock, call_timeout_s)
    await house.factory.start()
    await house.watch.load()
    try:
        yield house
    finally:
        await house.supervisor.close()
        await house.factory.close()
        vault.close()
        await records.close()
