"""Holds every tenant to its tier, across all processes, in one round trip to the cache.

1. Never more than the tier's number of requests, or of orders, in any 60 seconds by the server's
   clock.
2. All or nothing: a refused request or order spends nothing, so hammering does not dig deeper.
3. Cache away: requests are counted in this process alone (weaker: each process has its own window,
   which starts empty); orders are not admitted at all.
4. A connection is counted by a lease that runs out, so that a crash frees it.
"""

import secrets
from collections import OrderedDict
from enum import StrEnum

import msgspec

from trading_platform.cache.link import Link, Reply, unavailable
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.limits import keys
from trading_platform.limits.scripts import ADMIT, LEASE, QUOTA
from trading_platform.limits.tiers import TIERS, WINDOW_US
from trading_platform.limits.window import Window, spend
from trading_platform.tenants.model import Tier

LEASE_S = 30.0
"""A connection's holder renews its lease well within this."""

_LOCAL_TENANTS_MAX = 10_000


class Limited(StrEnum):
    """What a tier bounds."""

    REQUESTS = "requests"
    ORDERS = "orders"
    CONNECTIONS = "connections"


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """An answer for one request. `limit`, `remaining` and `reset_s` tell of the limit that refused,
    or else of the one nearest to refusing; `reset_s` is until its next unit returns.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    limited_by: Limited | None = None
    retry_after_s: float = 0.0
    degraded: bool = False
    """Counted by this process alone because the cache is away."""


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`admission` is None when no permit covers the order; then nothing was spent."""

    admission: Admission | None


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """One limit and what is left of it."""

    limit: int
    remaining: int
    reset_s: float = 0.0


class QuotaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All of a tenant's limits."""

    requests: Allowance
    orders: Allowance
    connections: Allowance


class Limiter:
    """Admits requests, orders and connections."""

    def __init__(self, link: Link, clock: Clock, *, processes: int = 1) -> None:
        """`processes` share a tier's requests evenly while the cache is away."""
        self._link = link
        self._clock = clock
        self._processes = processes
        self._local: OrderedDict[str, Window] = OrderedDict()

    async def admit_request(self, tenant_id: str, tier: Tier) -> Admission:
        """Spend one request; a refusal is a value, and so is counting without the cache."""
        return await self._request(tenant_id, tier, 1)

    async def check_limit(self, tenant_id: str, tier: Tier) -> Admission:
        """What `admit_request` would say now; spends nothing."""
        return await self._request(tenant_id, tier, 0)

    async def record_request(self, tenant_id: str, tier: Tier) -> None:
        """Spend one request whose answer nobody needs."""
        await self._request(tenant_id, tier, 1)

    async def admit_order(self, tenant_id: str, tier: Tier, exchange_id: str) -> OrderAnswer:
        """Spend one request and one order if both fit and a live permit covers the exchange.

        Raises PROVIDER_UNAVAILABLE when the cache cannot say: no order without an answer.
        """
        limits = TIERS[tier]
        reply = await self._link.script(
            ADMIT,
            (
                keys.requests_key(tenant_id),
                keys.orders_key(tenant_id),
                keys.mirror_key(tenant_id),
                keys.permit_key(tenant_id),
            ),
            (WINDOW_US, 1, limits.requests_per_minute, limits.orders_per_minute, exchange_id),
        )
        verdict, retry_us, *left = _numbers(reply, 6)
        if verdict > 2:
            return OrderAnswer(admission=None)
        requests = _allowance(limits.requests_per_minute, left[0], left[1])
        orders = _allowance(limits.orders_per_minute, left[2], left[3])
        return OrderAnswer(admission=_nearest(verdict, retry_us, requests, orders))

    async def get_remaining_quota(self, tenant_id: str, tier: Tier) -> QuotaStatus:
        """What is left of every limit; raises PROVIDER_UNAVAILABLE."""
        limits = TIERS[tier]
        reply = await self._link.script(
            QUOTA,
            (
                keys.requests_key(tenant_id),
                keys.orders_key(tenant_id),
                keys.connections_key(tenant_id),
            ),
            (WINDOW_US, limits.requests_per_minute, limits.orders_per_minute),
        )
        left = _numbers(reply, 5)
        return QuotaStatus(
            requests=_allowance(limits.requests_per_minute, left[0], left[1]),
            orders=_allowance(limits.orders_per_minute, left[2], left[3]),
            connections=_allowance(limits.connections, max(0, limits.connections - left[4]), 0),
        )

    async def lease_connection(self, tenant_id: str, tier: Tier) -> str | None:
        """A lease for one connection, None when all are taken; renew it within 30 s.

        Raises PROVIDER_UNAVAILABLE.
        """
        lease = secrets.token_hex(8)
        return lease if await self._lease(tenant_id, tier, lease, "new") else None

    async def renew_connection(self, tenant_id: str, tier: Tier, lease: str) -> None:
        """Keep an open connection counted, also when the cache forgot it meanwhile."""
        await self._lease(tenant_id, tier, lease, "renew")

    async def release_connection(self, tenant_id: str, lease: str) -> None:
        """Free a connection; twice is fine."""
        await self._link.call("ZREM", keys.connections_key(tenant_id), lease)

    async def _lease(self, tenant_id: str, tier: Tier, lease: str, how: str) -> bool:
        reply = await self._link.script(
            LEASE,
            (keys.connections_key(tenant_id),),
            (lease, TIERS[tier].connections, round(LEASE_S * 1_000_000), how),
        )
        return _numbers(reply, 2)[0] == 1

    async def _request(self, tenant_id: str, tier: Tier, cost: int) -> Admission:
        limit = TIERS[tier].requests_per_minute
        key = keys.requests_key(tenant_id)
        try:
            reply = await self._link.script(ADMIT, (key,), (WINDOW_US, cost, limit))
        except ServiceError:  # the link raises it only for a cache that cannot be asked
            return self._request_without_cache(tenant_id, limit, cost)
        verdict, retry_us, remaining, reset_us, _, _ = _numbers(reply, 6)
        return _one(verdict, retry_us, _allowance(limit, remaining, reset_us), Limited.REQUESTS)

    def _request_without_cache(self, tenant_id: str, limit: int, cost: int) -> Admission:
        share = max(1, limit // self._processes)
        now_us = int(self._clock.monotonic() * 1_000_000)
        window = self._local.pop(tenant_id, Window())
        window, spent = spend(window, cost, now_us, limit=share, period_us=WINDOW_US)
        self._local[tenant_id] = window
        if len(self._local) > _LOCAL_TENANTS_MAX:
            self._local.popitem(last=False)
        refused = spent.retry_after_us > 0 or (cost == 0 and spent.remaining == 0)
        retry_us = spent.retry_after_us or (spent.reset_us if refused else 0)
        allowance = _allowance(share, spent.remaining, spent.reset_us)
        admission = _one(int(refused), retry_us, allowance, Limited.REQUESTS)
        return msgspec.structs.replace(admission, degraded=True)


def _numbers(reply: Reply, count: int) -> list[int]:
    if not isinstance(reply, list) or len(reply) != count:
        raise unavailable("answered with something else than a script of ours")
    return [number if isinstance(number, int) else 0 for number in reply]


def _allowance(limit: int, remaining: int, reset_us: int) -> Allowance:
    return Allowance(limit=limit, remaining=remaining, reset_s=reset_us / 1_000_000)


def _one(verdict: int, retry_us: int, allowance: Allowance, limited: Limited) -> Admission:
    return Admission(
        allowed=verdict == 0,
        limit=allowance.limit,
        remaining=allowance.remaining,
        reset_s=allowance.reset_s,
        limited_by=limited if verdict else None,
        retry_after_s=retry_us / 1_000_000,
    )


def _nearest(verdict: int, retry_us: int, requests: Allowance, orders: Allowance) -> Admission:
    refused_by_requests = verdict == 1
    nearer = requests if requests.remaining < orders.remaining else orders
    shown = requests if refused_by_requests else orders if verdict else nearer
    limited = Limited.REQUESTS if refused_by_requests else Limited.ORDERS
    return _one(verdict, retry_us, shown, limited)
