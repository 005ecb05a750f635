"""What is kept of one tenant's orders.

The intent and the promise behind its idempotency key are one transaction. The promise never
expires: our client order id is derived from the key, and an exchange takes a client id again once
the first order is closed, so a forgotten key could buy twice.
"""

from collections.abc import Callable

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.market.orders import CLOSED, Order, OrderRequest, OrderStatus
from trading_platform.orders import rows
from trading_platform.storage.records import ABSENT, Put, Record, Records
from trading_platform.storage.tables import IDEMPOTENCY, ORDERS

_ATTEMPTS_MAX = 16
_PAGE_MAX = 1000
FIRST = ABSENT + 1
"""The version of a row that was written once."""


class Change(msgspec.Struct, frozen=True):
    """An order before and after; the same object twice when nothing changed."""

    before: Order
    after: Order


class OrderStore:
    """The orders of one tenant. Raises NOT_FOUND, CONFLICT, IDEMPOTENCY_CONFLICT and
    STORAGE_UNAVAILABLE.
    """

    def __init__(self, records: Records, tenant_id: str) -> None:
        self._records = records
        self._tenant_id = tenant_id

    async def promised(self, key: str, request: OrderRequest) -> Order | None:
        """The order that this idempotency key already names; another request under it raises."""
        row = await self._records.get(IDEMPOTENCY, rows.idempotency_key(self._tenant_id, key))
        if row is None:
            return None
        if row.data["fingerprint"] != rows.fingerprint(request):
            raise ServiceError(
                "this Idempotency-Key was used for a different order; use a new key",
                "IDEMPOTENCY_CONFLICT",
                metadata={"orderId": row.data["orderId"]},
            )
        return await self.get(row.data["orderId"])

    async def create(self, order: Order, key: str, request: OrderRequest) -> Order | None:
        """Keep the intent and its promise; None when another submit with this key came first."""
        promise = Record(
            key=rows.idempotency_key(self._tenant_id, key),
            data={"fingerprint": rows.fingerprint(request), "orderId": order.order_id},
        )
        try:
            await self._records.transact(
                (
                    Put(table=IDEMPOTENCY, record=promise, expect=ABSENT),
                    Put(table=ORDERS, record=rows.to_record(order), expect=ABSENT),
                )
            )
        except ServiceError as error:
            if error.code != "CONFLICT":
                raise
            return None
        return order

    async def get(self, order_id: str) -> Order:
        """One order; NOT_FOUND for unknown ids and for those of other tenants."""
        return rows.from_record(await self._row(order_id))

    async def change(
        self, order_id: str, decide: Callable[[Order], Order], *, created: Order | None = None
    ) -> Change:
        """Write `decide(order)`, deciding again on the newer order when somebody was faster.

        `created` is the order as we just created it: most often nobody was, and a read is saved.
        """
        for attempt in range(_ATTEMPTS_MAX):
            if created is not None and attempt == 0:
                before, version = created, FIRST
            else:
                row = await self._row(order_id)
                before, version = rows.from_record(row), row.version
            after = decide(before)
            if after == before:
                return Change(before, before)
            try:
                await self._records.put(ORDERS, rows.to_record(after), expect=version)
            except ServiceError as error:
                if error.code != "CONFLICT":
                    raise
                continue
            return Change(before, after)
        raise ServiceError(f"order {order_id} is being changed by too many at once", "CONFLICT")

    async def by_client_order_id(self, client_order_id: str) -> Order | None:
        """The order that we sent under this id, if any."""
        page = await self._records.query(
            ORDERS,
            self._tenant_id,
            index="by-client-order-id",
            sort_from=client_order_id,
            sort_to=client_order_id + "\x00",
            limit=1,
        )
        return rows.from_record(page.records[0]) if page.records else None

    async def newest(
        self, *, statuses: frozenset[OrderStatus] | None, limit: int, after: str | None
    ) -> tuple[list[Order], str | None]:
        """Newest first, older than order id `after`; and where to go on while there is more."""
        found: list[Order] = []
        for partition, index in self._partitions(statuses):
            page = await self._records.query(
                ORDERS,
                partition,
                index=index,
                sort_to=after,
                newest_first=True,
                limit=min(limit + 1, _PAGE_MAX),
            )
            found += [rows.from_record(row) for row in page.records]
        found.sort(key=lambda order: order.order_id, reverse=True)
        more = len(found) > limit
        return found[:limit], found[limit - 1].order_id if more else None

    def _partitions(self, statuses: frozenset[OrderStatus] | None) -> list[tuple[str, str | None]]:
        if statuses is None:
            return [(self._tenant_id, None)]
        return [
            (rows.status_partition(self._tenant_id, status), "by-status")
            for status in sorted(statuses)
        ]

    async def _row(self, order_id: str) -> Record:
        row = await self._records.get(ORDERS, rows.order_key(self._tenant_id, order_id))
        if row is None:
            raise ServiceError(f"there is no order {order_id[:64]}", "NOT_FOUND")
        return row


OPEN_STATUSES = frozenset(OrderStatus) - CLOSED


async def unfinished(records: Records) -> list[Order]:
    """Every order of every tenant about which the exchange still has to be asked."""
    found: list[Order] = []
    for shard in range(rows.LIVE_SHARDS):
        after: str | None = None
        while True:
            page = await records.query(
                ORDERS, rows.live_partition(shard), index="live", limit=_PAGE_MAX, after=after
            )
            found += [rows.from_record(row) for row in page.records]
            after = page.after
            if after is None:
                break
    return found
