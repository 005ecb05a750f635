"""/v1/account, /v1/exchanges and /v1/balances: who am I, where can I trade, what do I hold."""

import msgspec
from msgspec import UNSET, UnsetType

from trading_platform.api.fields import SymbolText, given
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Nothing, Route
from trading_platform.kit.decimals import plain
from trading_platform.kit.errors import ServiceError
from trading_platform.limits.limiter import Allowance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.tenants.model import Permission, Tier


class QuotaView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One budget: what the tier allows in a minute, and what is left now."""

    limit: int
    remaining: int


class AccountView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The caller's tenant, its key's permissions and its budgets."""

    tenant_id: str
    name: str
    tier: Tier
    key_id: str
    permissions: tuple[Permission, ...]
    requests: QuotaView
    orders: QuotaView
    connections: QuotaView


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One exchange and its symbols; `message` says why it is not available."""

    exchange_id: ExchangeId
    available: bool
    symbols: tuple[str, ...]
    message: str | None


class ExchangeList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where can be traded."""

    exchanges: tuple[ExchangeView, ...]


class InstrumentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The rules that orders of one symbol must keep; null is no bound."""

    symbol: str
    exchange_symbol: str
    base: str
    quote: str
    price_increment: str
    quantity_increment: str
    quantity_min: str | None
    quantity_max: str | None
    notional_min: str | None
    trading: bool


class InstrumentList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The instruments of one exchange, by symbol."""

    exchange_id: ExchangeId
    instruments: tuple[InstrumentView, ...]


class BalanceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One currency: `held` is locked by open orders."""

    currency: str
    free: str
    held: str


class BalanceList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the caller's account at one exchange holds."""

    exchange_id: ExchangeId
    balances: tuple[BalanceView, ...]


class OneExchange(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Which exchange."""

    exchange_id: ExchangeId


class WhichInstruments(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Which exchange, and one symbol of it or all."""

    exchange_id: ExchangeId
    symbol: SymbolText | UnsetType = UNSET


async def get_account(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Who am I?"""
    caller = call.caller
    tenant = await services.tenants.get_tenant(caller.tenant_id)
    quota = await services.limiter.get_remaining_quota(caller.tenant_id, caller.tier)
    return Answer(
        AccountView(
            tenant_id=tenant.tenant_id,
            name=tenant.name,
            tier=caller.tier,
            key_id=caller.key_id,
            permissions=tuple(sorted(caller.permissions)),
            requests=_quota(quota.requests),
            orders=_quota(quota.orders),
            connections=_quota(quota.connections),
        )
    )


def _quota(allowance: Allowance) -> QuotaView:
    return QuotaView(limit=allowance.limit, remaining=allowance.remaining)


async def list_exchanges(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Where can I trade?"""
    views = [await _exchange(services, exchange_id) for exchange_id in services.exchange_ids]
    return Answer(ExchangeList(exchanges=tuple(views)))


async def _exchange(services: Services, exchange_id: ExchangeId) -> ExchangeView:
    try:
        instruments = await services.exchanges.instruments(exchange_id)
    except ServiceError as error:
        return ExchangeView(
            exchange_id=exchange_id, available=False, symbols=(), message=error.message
        )
    symbols = tuple(sorted(instruments))
    return ExchangeView(exchange_id=exchange_id, available=True, symbols=symbols, message=None)


async def list_instruments(services: Services, call: Call[WhichInstruments, Nothing]) -> Answer:
    """Which rules do orders keep?"""
    exchange_id, symbol = call.query.exchange_id, given(call.query.symbol)
    instruments = await services.exchanges.instruments(_served(services, exchange_id))
    if symbol is not None and symbol not in instruments:
        raise ServiceError(f"{exchange_id} does not trade {symbol}.", "NOT_FOUND")
    chosen = sorted(instruments) if symbol is None else [symbol]
    return Answer(
        InstrumentList(
            exchange_id=exchange_id,
            instruments=tuple(_instrument(instruments[name]) for name in chosen),
        )
    )


def _instrument(instrument: Instrument) -> InstrumentView:
    return InstrumentView(
        symbol=instrument.symbol,
        exchange_symbol=instrument.exchange_symbol,
        base=instrument.base,
        quote=instrument.quote,
        price_increment=plain(instrument.price_increment),
        quantity_increment=plain(instrument.quantity_increment),
        quantity_min=plain(instrument.quantity_min) if instrument.quantity_min else None,
        quantity_max=plain(instrument.quantity_max) if instrument.quantity_max else None,
        notional_min=plain(instrument.notional_min) if instrument.notional_min else None,
        trading=instrument.trading,
    )


async def list_balances(services: Services, call: Call[OneExchange, Nothing]) -> Answer:
    """What do I hold?"""
    exchange_id = _served(services, call.query.exchange_id)
    account = await services.exchanges.trading(call.caller.tenant_id, exchange_id)
    balances = tuple(
        BalanceView(currency=b.currency, free=plain(b.free), held=plain(b.held))
        for b in await account.balances()
    )
    return Answer(BalanceList(exchange_id=exchange_id, balances=balances))


def _served(services: Services, exchange_id: ExchangeId) -> ExchangeId:
    if exchange_id not in services.exchange_ids:
        raise ServiceError(f"{exchange_id} is not connected here.", "NOT_FOUND")
    return exchange_id


ROUTES = (
    Route(
        method="GET",
        path="/v1/account",
        operation="getAccount",
        handler=get_account,
        summary="Your tenant, your key's permissions and what is left of your budgets",
        tag="account",
        permission=Permission.READ,
        answers={200: AccountView},
    ),
    Route(
        method="GET",
        path="/v1/exchanges",
        operation="listExchanges",
        handler=list_exchanges,
        summary="The exchanges and their symbols",
        tag="account",
        permission=Permission.READ,
        answers={200: ExchangeList},
    ),
    Route(
        method="GET",
        path="/v1/instruments",
        operation="listInstruments",
        handler=list_instruments,
        summary="The rules that an exchange's orders must keep",
        tag="account",
        permission=Permission.READ,
        query=WhichInstruments,
        answers={200: InstrumentList},
        errors=("NOT_FOUND", "EXCHANGE_UNAVAILABLE"),
    ),
    Route(
        method="GET",
        path="/v1/balances",
        operation="listBalances",
        handler=list_balances,
        summary="What your account at an exchange holds",
        tag="account",
        permission=Permission.READ,
        query=OneExchange,
        answers={200: BalanceList},
        errors=("NOT_FOUND", "EXCHANGE_UNAVAILABLE"),
    ),
)
