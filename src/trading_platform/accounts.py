"""Wiring between orders and exchanges: whose account, with whose keys, and its events back."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import Trading
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, ExchangeMode, Instrument
from trading_platform.market.orders import OrderReport
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.settings import ExchangeSetting
from trading_platform.simulation.credentials import simulated_keys

OnReport = Callable[[str, ExchangeId, OrderReport], None]
OnGap = Callable[[str, ExchangeId], None]


class SimulatedCredentials:
    """Keys for accounts at simulated exchanges; there are none for real ones yet.

    They are derived from the tenant's id, so anybody can make them: they guard play money only.
    """

    def __init__(self, exchanges: Mapping[ExchangeId, ExchangeSetting]) -> None:
        self._exchanges = exchanges

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        """The tenant's keys; NOT_FOUND where it has none."""
        setting = self._exchanges.get(exchange_id)
        if setting is None or setting.mode is not ExchangeMode.SIMULATED:
            raise ServiceError(
                f"no credentials are stored for {exchange_id}. This version trades on simulated "
                "exchanges only; prices of the real ones work without keys.",
                "NOT_FOUND",
            )
        keys = simulated_keys(tenant_id)
        return ExchangeCredentials(
            api_key=keys.api_key,
            api_secret=Secret(keys.api_secret),
            passphrase=Secret(keys.passphrase),
            permissions=frozenset({"read", "trade"}),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


class _Events:
    """One account's user stream, named and handed on."""

    def __init__(self, accounts: "Accounts", tenant_id: str, exchange_id: ExchangeId) -> None:
        self._accounts = accounts
        self._tenant_id = tenant_id
        self._exchange_id = exchange_id

    def on_order_report(self, report: OrderReport) -> None:
        self._accounts.on_report(self._tenant_id, self._exchange_id, report)

    def on_balances(self, balances: Sequence[Balance]) -> None:
        """Balances are read when they are asked for."""

    def on_gap(self, reason: str) -> None:
        self._accounts.on_gap(self._tenant_id, self._exchange_id)


class Accounts:
    """Tenants' accounts; the first use of one opens its user stream."""

    def __init__(self, factory: ExchangeFactory, supervisor: Supervisor) -> None:
        self._factory = factory
        self._supervisor = supervisor
        self._streaming: set[tuple[str, ExchangeId]] = set()
        self.on_report: OnReport = lambda tenant_id, exchange_id, report: None
        self.on_gap: OnGap = lambda tenant_id, exchange_id: None

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        """The tenant's account at the exchange."""
        trading = await self._factory.trading(tenant_id, exchange_id)
        if (tenant_id, exchange_id) not in self._streaming:
            self._streaming.add((tenant_id, exchange_id))
            events = _Events(self, tenant_id, exchange_id)
            stream = await self._factory.user_stream(tenant_id, exchange_id, events)
            self._supervisor.start(f"user stream {exchange_id} {tenant_id}", stream.run)
        return trading

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        """The rules of one symbol."""
        return await self._factory.instrument(exchange_id, symbol)
