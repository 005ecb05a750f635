"""What the API needs of the rest of the house; `app.py` passes the real parts in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trading_platform.exchanges.credentials import CredentialService
from trading_platform.exchanges.key_rotation import KeyRotation
from trading_platform.exchanges.ports import Trading
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock
from trading_platform.limits.limiter import Admission, QuotaStatus
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Order, OrderRequest, OrderStatus
from trading_platform.market.quotes import AggregatedPrice, PriceRefusal
from trading_platform.observability.health import Health
from trading_platform.observability.metrics import Metrics
from trading_platform.safety.switch import Scope, SwitchState
from trading_platform.tenants.audit_chain import AuditEntry
from trading_platform.tenants.model import Caller, Tenant, Tier

OnPrice = Callable[[AggregatedPrice | PriceRefusal], None]


class Tenants(Protocol):
    """Who is asking."""

    async def authenticate(self, bearer: str) -> Caller: ...
    async def get_tenant(self, tenant_id: str) -> Tenant: ...


class Limits(Protocol):
    """What a tier may spend."""

    async def admit_request(self, tenant_id: str, tier: Tier) -> Admission: ...
    async def get_remaining_quota(self, tenant_id: str, tier: Tier) -> QuotaStatus: ...
    async def lease_connection(self, tenant_id: str, tier: Tier) -> str | None: ...
    async def renew_connection(self, tenant_id: str, tier: Tier, lease: str) -> None: ...
    async def release_connection(self, tenant_id: str, lease: str) -> None: ...


class Safety(Protocol):
    """May this tenant trade?"""

    async def admit_order(
        self, tenant_id: str, tier: Tier, exchange_id: ExchangeId
    ) -> Admission: ...
    async def activate(self, scope: Scope, *, reason: str, actor: str) -> SwitchState: ...
    async def release(
        self, scope: Scope, *, epoch: int, reason: str, actor: str
    ) -> SwitchState: ...
    async def status(self, tenant_id: str) -> Sequence[SwitchState]: ...


class Audit(Protocol):
    """What was done, and by whom."""

    async def latest(
        self, tenant_id: str, *, before: int | None, limit: int
    ) -> tuple[list[AuditEntry], int | None]: ...


class Orders(Protocol):
    """The orders of all tenants; every call names whose."""

    async def submit(
        self, tenant_id: str, request: OrderRequest, idempotency_key: str
    ) -> Order: ...
    async def promised(
        self, tenant_id: str, request: OrderRequest, idempotency_key: str
    ) -> Order | None: ...
    async def cancel(self, tenant_id: str, order_id: str) -> Order: ...
    async def get(self, tenant_id: str, order_id: str) -> Order: ...
    async def list_orders(
        self,
        tenant_id: str,
        *,
        status: OrderStatus | None,
        open_only: bool,
        limit: int,
        after: str | None,
    ) -> tuple[list[Order], str | None]: ...


class Prices(Protocol):
    """One trusted price a symbol."""

    def symbols(self) -> Sequence[str]: ...
    def latest(self, symbol: str) -> AggregatedPrice | PriceRefusal: ...
    async def subscribe(self, symbol: str, callback: OnPrice) -> Any: ...
    async def unsubscribe(self, handle: Any) -> None: ...


class Exchanges(Protocol):
    """Instruments, and a tenant's accounts."""

    async def instruments(self, exchange_id: ExchangeId) -> Mapping[str, Instrument]: ...
    async def trading(self, tenant_id: str, exchange_id: ExchangeId) -> Trading: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that the API calls."""

    tenants: Tenants
    limiter: Limits
    safety: Safety
    audit: Audit
    credentials: CredentialService
    rotation: KeyRotation
    orders: Orders
    prices: Prices
    exchanges: Exchanges
    exchange_ids: tuple[ExchangeId, ...]
    bus: Bus
    health: Health
    metrics: Metrics
    clock: Clock
    log: Any
    version: str = "0"
