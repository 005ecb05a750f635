"""How an order is kept: row, indexes, and the fingerprint of what was asked. Pure."""

import hashlib
import zlib
from typing import Any

import msgspec

from trading_platform.kit.decimals import plain
from trading_platform.market.orders import Order, OrderRequest, OrderStatus
from trading_platform.orders.machine import is_closed, lacks_fills
from trading_platform.storage.records import Key, Record

LIVE_SHARDS = 16
"""Partitions of the index that finds unfinished orders of all tenants after a restart: more than
one so that no partition of DynamoDB takes every write.
"""


def order_key(tenant_id: str, order_id: str) -> Key:
    """Where an order lives. Order ids sort by creation, so a partition reads as a history."""
    return Key(tenant_id, order_id)


def idempotency_key(tenant_id: str, key: str) -> Key:
    """Where the promise lives that this key names one order."""
    return Key(tenant_id, f"orders#{key}")


def status_partition(tenant_id: str, status: OrderStatus) -> str:
    """Index partition of one tenant's orders in one status."""
    return f"{tenant_id}#{status}"


def live_partition(shard: int) -> str:
    """Index partition of unfinished orders, whoever owns them."""
    return f"live#{shard}"


def needs_attention(order: Order) -> bool:
    """Whether the exchange still has to be asked about the order."""
    return not is_closed(order) or lacks_fills(order)


def to_record(order: Order) -> Record:
    """The row of an order with all its index entries."""
    indexes = {
        "by-status": Key(status_partition(order.tenant_id, order.status), order.order_id),
        "by-client-order-id": Key(order.tenant_id, order.client_order_id),
    }
    if needs_attention(order):
        shard = zlib.crc32(order.order_id.encode()) % LIVE_SHARDS
        indexes["live"] = Key(live_partition(shard), order.order_id)
    data: dict[str, Any] = msgspec.to_builtins(order)
    return Record(key=order_key(order.tenant_id, order.order_id), data=data, indexes=indexes)


def from_record(record: Record) -> Order:
    """The order of a row; fields added since it was written take their defaults."""
    return msgspec.convert(dict(record.data), Order)


def fingerprint(request: OrderRequest) -> str:
    """Hash of what was asked: 0.010 and 0.01 are the same request."""
    said = msgspec.to_builtins(request)
    said["quantity"] = plain(request.quantity)
    said["price"] = None if request.price is None else plain(request.price)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()
