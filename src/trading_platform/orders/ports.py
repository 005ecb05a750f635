"""What orders need from outside; app.py passes the real things in."""

from typing import Any, Protocol

from trading_platform.exchanges.ports import Trading
from trading_platform.market.instruments import ExchangeId, Instrument


class Accounts(Protocol):
    """Tenants' accounts at exchanges. Both calls raise ServiceError when there is no answer."""

    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading:
        """The tenant's account at the exchange."""

    async def instrument(self, exchange_id: ExchangeId, symbol: str) -> Instrument:
        """The rules of one symbol."""


class Guard(Protocol):
    """The last word before bytes leave."""

    def may_send(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Raises TRADING_HALTED when the tenant may take no new risk there now."""


class Log(Protocol):
    """Structured log lines; fields never hold secrets."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...
