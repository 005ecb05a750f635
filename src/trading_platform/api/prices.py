"""/v1/prices: one trusted price a symbol, with its provenance."""

import msgspec

from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Nothing, Route
from trading_platform.kit.errors import ServiceError
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.tenants.model import Permission


class PriceList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All symbols: those with a price, and those without and why."""

    prices: tuple[AggregatedPrice, ...]
    unavailable: tuple[PriceRefusal, ...]


def known(services: Services, symbol: str) -> str:
    """`symbol`, or NOT_FOUND with those there are."""
    symbols = services.prices.symbols()
    if symbol not in symbols:
        raise ServiceError(
            f"There is no price feed for {symbol}.",
            "NOT_FOUND",
            metadata={"symbols": sorted(symbols)[:50]},
        )
    return symbol


async def list_prices(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Every symbol that is fed."""
    latest = [services.prices.latest(symbol) for symbol in sorted(services.prices.symbols())]
    return Answer(
        PriceList(
            prices=tuple(price for price in latest if isinstance(price, AggregatedPrice)),
            unavailable=tuple(price for price in latest if isinstance(price, PriceRefusal)),
        )
    )


async def get_price(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """One symbol; 503 with the reason and the sources when there is no price to trust."""
    latest = services.prices.latest(known(services, call.path["symbol"]))
    if isinstance(latest, AggregatedPrice):
        return Answer(latest)
    raise ServiceError(
        f"There is no price of {latest.symbol} to trust now: {latest.reason}.",
        "PRICE_UNAVAILABLE",
        metadata={
            "retryAfter": 1,
            "reason": latest.reason,
            "sources": msgspec.to_builtins(latest.sources),
        },
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/prices",
        operation="listPrices",
        handler=list_prices,
        summary="All prices with their sources",
        tag="prices",
        permission=Permission.READ,
        answers={200: PriceList},
    ),
    Route(
        method="GET",
        path="/v1/prices/{symbol}",
        operation="getPrice",
        handler=get_price,
        summary="One price with its sources, or why there is none",
        tag="prices",
        permission=Permission.READ,
        answers={200: AggregatedPrice},
        errors=("NOT_FOUND", "PRICE_UNAVAILABLE"),
    ),
)
