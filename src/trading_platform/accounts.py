"""Wiring between orders and exchanges: whose account, with whose keys, and its events back."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from trading_platform.exchanges.custody import Custody
from trading_platform.exchanges.factory import CredentialsSource, ExchangeFactory, MaySend
from trading_platform.exchanges.ports import Trading
from trading_platform.exchanges.standing import Standing
from trading_platform.exchanges.watched_account import WatchedAccount
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, ExchangeMode, Instrument
from trading_platform.market.orders import OrderReport
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.simulation.credentials import simulated_keys

OnReport = Callable[[str, ExchangeId, OrderReport], None]
OnGap = Callable[[str, ExchangeId], None]
OnRefused = Callable[[str, ExchangeId], None]


class StoredCredentials:
    """Tenants' keys out of custody.

    A tenant that never stored any for a simulated exchange gets the keys of a simulated account,
    derived from its id: anybody can make them, they guard play money only.
    """

    def __init__(
        self, custody: Custody, standing: Standing, modes: Mapping[ExchangeId, ExchangeMode]
    ) -> None:
        self._custody = custody
        self._standing = standing
        self._modes = modes

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        """The tenant's current keys; NOT_FOUND where it has none."""
        if self._standing.is_gone(tenant_id, exchange_id):
            raise ServiceError(
                f"the credential for {exchange_id} was revoked or deleted; store a new one with "
                f"PUT /v1/exchanges/{exchange_id}/credentials.",
                "NOT_FOUND",
            )
        simulated = self._modes.get(exchange_id) is ExchangeMode.SIMULATED
        if simulated and not self._standing.is_known(tenant_id, exchange_id):
            return simulated_credentials(tenant_id, exchange_id)
        try:
            return await self._custody.get(tenant_id, exchange_id)
        except ServiceError as error:
            if error.code != "NOT_FOUND":
                raise
            raise ServiceError(
                f"no credential is stored for {exchange_id}; store one with "
                f"PUT /v1/exchanges/{exchange_id}/credentials or `trading-platform credentials set "
                f"{exchange_id}`.",
                "NOT_FOUND",
            ) from error


class NoCredentials:
    """For whoever only reads what is public."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        """Always NOT_FOUND."""
        raise ServiceError(f"there are no credentials for {exchange_id} here.", "NOT_FOUND")


@lru_cache(maxsize=10_000)
def simulated_credentials(name: str, exchange_id: ExchangeId) -> ExchangeCredentials:
    """The keys of the simulated account called `name`, in the form of that exchange."""
    keys = simulated_keys(name)
    coinbase = exchange_id is ExchangeId.COINBASE
    return ExchangeCredentials(
        api_key=keys.api_key,
        api_secret=Secret(keys.api_secret),
        passphrase=Secret(keys.passphrase) if coinbase else None,
        permissions=frozenset({"read", "trade"}),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class Guards:
    """Everything that must say yes before an order's bytes leave."""

    def __init__(self, *guards: MaySend) -> None:
        self._guards = guards

    def may_send(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Raises what the first one that says no raises."""
        for guard in self._guards:
            guard(tenant_id, exchange_id)


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


class _Keys:
    """One account's key of now."""

    def __init__(self, accounts: "Accounts", tenant_id: str, exchange_id: ExchangeId) -> None:
        self._accounts = accounts
        self._tenant_id = tenant_id
        self._exchange_id = exchange_id

    async def check(self) -> None:
        await self._accounts.credentials.get_exchange_credentials(
            self._tenant_id, self._exchange_id
        )

    async def trading(self) -> Trading:
        return await self._accounts.factory.trading(self._tenant_id, self._exchange_id)

    async def refused(self) -> None:
        await self._accounts.custody.renew(self._tenant_id, self._exchange_id)
        self._accounts.on_refused(self._tenant_id, self._exchange_id)


class Accounts:
    """Tenants' accounts; the first use of one opens its user stream."""

    def __init__(
        self,
        factory: ExchangeFactory,
        supervisor: Supervisor,
        credentials: CredentialsSource,
        custody: Custody,
    ) -> None:
        self.factory = factory
        self.credentials = credentials
        self.custody = custody
        self._supervisor = supervisor
        self._streaming: set[tuple[str, ExchangeId]] = set()
        self.on_report: OnReport = lambda tenant_id, exchange_id, report: None
        self.on_gap: OnGap = lambda tenant_id, exchange_id: None
        self.on_refused: OnRefused = lambda tenant_id, exchange_id: None

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        """The tenant's account at the exchange, with whatever key it has at each request."""
        account = await self.factory.trading(tenant_id, exchange_id)
        if (tenant_id, exchange_id) not in self._streaming:
            self._streaming.add((tenant_id, exchange_id))
            try:
                events = _Events(self, tenant_id, exchange_id)
                stream = await self.factory.user_stream(tenant_id, exchange_id, events)
            except BaseException:
                self._streaming.discard((tenant_id, exchange_id))  # the next use tries again
                raise
            self._supervisor.start(_stream_name(tenant_id, exchange_id), stream.run)
        keys = _Keys(self, tenant_id, exchange_id)
        return WatchedAccount(exchange_id, account.acceptance_window_s, keys)

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        """The rules of one symbol."""
        return await self.factory.instrument(exchange_id, symbol)

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]:
        """All instruments of the exchange by symbol."""
        return await self.factory.instruments(exchange_id)

    def renew(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Sign with the key of now from the next request on."""
        self.factory.forget(tenant_id, exchange_id)

    async def end(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """The account's key is gone: close its stream and forget it."""
        self.factory.forget(tenant_id, exchange_id)
        self._streaming.discard((tenant_id, exchange_id))
        await self._supervisor.stop(_stream_name(tenant_id, exchange_id))


def _stream_name(tenant_id: str, exchange_id: ExchangeId) -> str:
    return f"user stream {exchange_id} {tenant_id}"
