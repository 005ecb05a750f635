"""Opens exchanges: one REST client and one instrument list each, accounts and streams on demand."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec

from trading_platform.exchanges.account import ExchangeAccount
from trading_platform.exchanges.binance_market import BinanceMarket
from trading_platform.exchanges.binance_trading import BinanceTrading
from trading_platform.exchanges.binance_user import BinanceUser
from trading_platform.exchanges.client import Log, Lost, NotSent, RestClient
from trading_platform.exchanges.coinbase_market import CoinbaseMarket
from trading_platform.exchanges.coinbase_trading import CoinbaseTrading
from trading_platform.exchanges.coinbase_user import CoinbaseUser
from trading_platform.exchanges.dialect import MarketDialect, TradingDialect, UserDialect
from trading_platform.exchanges.endpoints import Endpoints
from trading_platform.exchanges.ports import AccountSink, MarketSink, Trading
from trading_platform.exchanges.signer import Signer, in_process_signer, unsigned
from trading_platform.exchanges.stream import ExchangeStream, Opening, StreamLimits, TellGap
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.secrets.model import ExchangeCredentials

INSTRUMENTS_GOOD_FOR_S = 3600.0
INSTRUMENTS_RETRY_S = 5.0
STALE_KEYS_S = 600.0
"""How long an account goes on with the keys it has while custody does not answer."""
ACCOUNTS_MAX = 10_000


class CredentialsSource(Protocol):
    """Where a tenant's exchange keys come from."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        """ServiceError NOT_FOUND where the tenant has none."""


MaySend = Callable[[str, ExchangeId], None]
"""Raises TRADING_HALTED when this tenant may send no new order to this exchange now."""


class Dialects(msgspec.Struct, frozen=True):
    """The languages of one exchange; the stream ones are made anew for each connection."""

    trading: TradingDialect
    market: Callable[[], MarketDialect]
    user: Callable[[], UserDialect]


DIALECTS: Mapping[ExchangeId, Dialects] = {
    ExchangeId.BINANCE: Dialects(BinanceTrading(), BinanceMarket, BinanceUser),
    ExchangeId.COINBASE: Dialects(CoinbaseTrading(), CoinbaseMarket, CoinbaseUser),
}


class _Exchange:
    """What all tenants share at one exchange."""

    def __init__(
        self, endpoints: Endpoints, dialects: Dialects, client: RestClient, clock: Clock
    ) -> None:
        self.endpoints = endpoints
        self.dialects = dialects
        self.client = client
        self._clock = clock
        self._instruments: Mapping[str, Instrument] = {}
        self._ask_again_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def instruments(self) -> Mapping[str, Instrument]:
        """By symbol; asked hourly. Old ones serve while new ones are on their way or cannot be had:
        nobody waits for a list when there is one already.
        """
        if self._asking is None and self._clock.monotonic() >= self._ask_again_at:
            self._asking = asyncio.create_task(self._renew_instruments())
        if not self._instruments and self._asking is not None:
            # One question, and one failure, for all who wait.
            await asyncio.shield(self._asking)
        if not self._instruments:
            raise ServiceError("The exchange's instruments are not known.", "EXCHANGE_UNAVAILABLE")
        return self._instruments

    async def close(self) -> None:
        """Ask nothing more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self.client.close()

    async def _renew_instruments(self) -> None:
        known = bool(self._instruments)
        try:
            self._instruments = await self._ask_instruments()
            self._ask_again_at = self._clock.monotonic() + INSTRUMENTS_GOOD_FOR_S
        except ServiceError:
            if not known:
                raise
            self._ask_again_at = self._clock.monotonic() + INSTRUMENTS_RETRY_S
        finally:
            self._asking = None

    async def _ask_instruments(self) -> Mapping[str, Instrument]:
        dialect = self.dialects.trading
        answer = await self.client.send(unsigned(self.client.base_url, dialect.instruments()))
        if isinstance(answer, NotSent):
            raise answer.as_error()
        if isinstance(answer, Lost):
            raise ServiceError(f"Instruments: {answer.reason}", "EXCHANGE_UNAVAILABLE")
        # Megabytes of JSON: not on the event loop.
        rows = await asyncio.to_thread(dialect.read_instruments, answer)
        if not rows:
            raise ServiceError("The exchange names no instruments.", "EXCHANGE_UNAVAILABLE")
        return {row.symbol: row for row in rows}


class ExchangeFactory:
    """The one way to exchanges for everything above this floor."""

    def __init__(
        self,
        endpoints: Mapping[ExchangeId, Endpoints],
        credentials: CredentialsSource,
        clock: Clock,
        log: Log,
        *,
        may_send: MaySend | None = None,
        stream_limits: StreamLimits | None = None,
        call_timeout_s: float = 10.0,
    ) -> None:
        """`may_send` is asked in the instant before a new order's first byte leaves."""
        self._credentials = credentials
        self._clock = clock
        self._log = log
        self._may_send = may_send
        self._stream_limits = stream_limits or StreamLimits()
        self._exchanges = {
            exchange_id: _Exchange(
                place,
                DIALECTS[exchange_id],
                RestClient(
                    place.rest,
                    DIALECTS[exchange_id].trading,
                    clock,
                    log,
                    timeout_s=call_timeout_s,
                ),
                clock,
            )
            for exchange_id, place in endpoints.items()
        }
        self._accounts: dict[tuple[str, ExchangeId], _Opened] = {}

    async def start(self) -> None:
        """Open the clients; nothing is sent yet."""
        for exchange in self._exchanges.values():
            await exchange.client.start()

    async def close(self) -> None:
        """Close the clients and forget the accounts with their opened keys."""
        self._accounts.clear()
        for exchange in self._exchanges.values():
            await exchange.close()

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        """The tenant's account; the same object until its keys change."""
        account, _ = await self._account(tenant_id, exchange_id)
        return account

    def forget(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Drop an account's cached keys, because they were rotated or deleted."""
        self._accounts.pop((tenant_id, exchange_id), None)

    def client(self, exchange_id: ExchangeId) -> RestClient:
        """The exchange's shared REST client, for keys that are no account yet."""
        return self._exchange(exchange_id).client

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]:
        """All instruments of the exchange by symbol."""
        return await self._exchange(exchange_id).instruments()

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        """One instrument; NOT_FOUND with a sentence where the exchange has no such symbol."""
        found = (await self.instruments(exchange_id)).get(symbol)
        if found is None:
            raise ServiceError(
                f"{exchange_id.value} has no symbol {symbol[:40]!r}; symbols look like BTC-USDT.",
                "NOT_FOUND",
            )
        return found

    def market_stream(
        self, exchange_id: ExchangeId, exchange_symbols: Sequence[str], sink: MarketSink
    ) -> ExchangeStream[MarketSink]:
        """The exchange's public stream of these symbols into `sink`, for a supervised loop."""
        exchange = self._exchange(exchange_id)
        symbols = tuple(exchange_symbols)

        def converse() -> tuple[MarketDialect, Opening]:
            dialect = exchange.dialects.market()

            async def opening() -> Sequence[bytes]:
                return dialect.subscribe(symbols)

            return dialect, opening

        return ExchangeStream(
            f"{exchange_id.value} market",
            exchange.endpoints.market_ws,
            converse,
            sink,
            self._log,
            tell_gap=TellGap.LOST,
            limits=self._stream_limits,
        )

    async def user_stream(
        self, tenant_id: str, exchange_id: ExchangeId, sink: AccountSink
    ) -> ExchangeStream[AccountSink]:
        """The account's own events into `sink`; each connection logs in with the keys of then."""
        exchange = self._exchange(exchange_id)
        await self._account(tenant_id, exchange_id)  # refuse now rather than for ever in a loop

        def converse() -> tuple[UserDialect, Opening]:
            dialect = exchange.dialects.user()

            async def opening() -> Sequence[bytes]:
                _, signer = await self._account(tenant_id, exchange_id)
                time_ms = await exchange.client.server_time_ms()
                if isinstance(time_ms, NotSent):
                    raise time_ms.as_error()
                rows = (await exchange.instruments()).values()
                fields = signer.sign_login(time_ms)
                return dialect.login(fields, [row.exchange_symbol for row in rows])

            return dialect, opening

        return ExchangeStream(
            f"{exchange_id.value} user {tenant_id}",
            exchange.endpoints.user_ws,
            converse,
            sink,
            self._log,
            tell_gap=TellGap.RESUMED,
            limits=self._stream_limits,
        )

    def _exchange(self, exchange_id: ExchangeId) -> _Exchange:
        exchange = self._exchanges.get(exchange_id)
        if exchange is None:
            raise ServiceError(f"{exchange_id.value} is not set up here.", "NOT_FOUND")
        return exchange

    async def _account(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> tuple[ExchangeAccount, Signer]:
        exchange = self._exchange(exchange_id)
        try:
            credentials = await self._credentials.get_exchange_credentials(tenant_id, exchange_id)
        except ServiceError as error:
            known = self._accounts.get((tenant_id, exchange_id))
            if known is None or not self._may_go_on(known, error):
                self._accounts.pop((tenant_id, exchange_id), None)
                raise
            return known.account, known.signer
        known = self._accounts.get((tenant_id, exchange_id))  # two first calls end with one object
        if known is not None and (known.credentials is credentials or known.has(credentials)):
            known.credentials, known.fetched_at = credentials, self._clock.monotonic()
            return known.account, known.signer
        signer = in_process_signer(exchange_id, exchange.client.base_url, credentials)
        may_send = self._may_send and partial(self._may_send, tenant_id, exchange_id)
        account = ExchangeAccount(
            exchange.dialects.trading, signer, exchange.client, self._clock, may_send=may_send
        )
        if len(self._accounts) >= ACCOUNTS_MAX:
            del self._accounts[next(iter(self._accounts))]
        opened = _Opened(account, signer, credentials, self._clock.monotonic())
        self._accounts[tenant_id, exchange_id] = opened
        return account, signer

    def _may_go_on(self, known: "_Opened", error: ServiceError) -> bool:
        unanswered = error.code in {"PROVIDER_UNAVAILABLE", "STORAGE_UNAVAILABLE"}
        return unanswered and self._clock.monotonic() - known.fetched_at < STALE_KEYS_S


class _Opened:
    """An account with the keys it was opened with."""

    def __init__(
        self,
        account: ExchangeAccount,
        signer: Signer,
        credentials: ExchangeCredentials,
        fetched_at: float,
    ) -> None:
        self.account = account
        self.signer = signer
        self.credentials = credentials
        self.fetched_at = fetched_at

    def has(self, credentials: ExchangeCredentials) -> bool:
        """Whether these keys sign as ours do, whatever else is said of them."""
        mine = self.credentials
        return (mine.api_key, mine.api_secret, mine.passphrase) == (
            credentials.api_key,
            credentials.api_secret,
            credentials.passphrase,
        )
