"""Which sources make which price: the same base, quoted in the same currency or in one that a known
rate converts.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from trading_platform.market.instruments import split_symbol

CONVERSIONS = ("USDT-USD", "USDC-USD")
"""The rates that may convert; they are only ever made of sources quoted in their own currency."""


class Route(NamedTuple):
    """How a source's symbol reaches the aggregate's: multiply by the price of `rate_symbol`, or
    divide where `inverse`; None for the same currency.
    """

    source_symbol: str
    rate_symbol: str | None = None
    inverse: bool = False


def routes(
    symbol: str, source_symbols: Iterable[str], conversions: Collection[str] = CONVERSIONS
) -> list[Route]:
    """The routes from each of `source_symbols` to `symbol`; those that lead nowhere are absent."""
    base, quote = split_symbol(symbol)
    found = []
    for source_symbol in sorted(set(source_symbols)):
        source_base, source_quote = split_symbol(source_symbol)
        if source_base != base:
            continue
        if source_quote == quote:
            found.append(Route(source_symbol))
        elif symbol in conversions:
            continue
        elif f"{source_quote}-{quote}" in conversions:
            found.append(Route(source_symbol, f"{source_quote}-{quote}"))
        elif f"{quote}-{source_quote}" in conversions:
            found.append(Route(source_symbol, f"{quote}-{source_quote}", inverse=True))
    return found
