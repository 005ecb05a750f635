"""One harmless question about a key, and what its answer says. Pure."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from trading_platform.exchanges.dialect import HttpRequest, HttpResponse
from trading_platform.exchanges.rights import Facts
from trading_platform.market.instruments import ExchangeMode


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """`read` raises ServiceError: CREDENTIAL_REFUSED when the exchange does not take the key,
    EXCHANGE_UNAVAILABLE or RATE_LIMIT_EXCEEDED when the answer is none.
    """

    request: HttpRequest
    read: Callable[[HttpResponse], Facts]


class RightsDialect(Protocol):
    """How one exchange is asked what a key may do."""

    def probes(self, mode: ExchangeMode, fresh_id: str) -> Sequence[Probe]:
        """In the order in which to ask. `fresh_id` is a UUID that no order ever had."""

    def is_clock_refusal(self, response: HttpResponse) -> bool:
        """Whether the request's time was refused, so that the key was not judged."""
