"""Every table and its named indexes, one line each. The names are those of the requirements."""

from collections.abc import Mapping

TENANTS = "tenants"
API_KEYS = "api-keys"
ORDERS = "orders"
IDEMPOTENCY = "idempotency"
KILL_SWITCHES = "kill-switches"
EXCHANGE_ACCOUNTS = "exchange-accounts"

TABLES: Mapping[str, tuple[str, ...]] = {
    TENANTS: ("by-creation",),
    API_KEYS: ("by-tenant",),
    ORDERS: ("by-status", "by-client-order-id", "live"),
    IDEMPOTENCY: (),
    KILL_SWITCHES: (),
    EXCHANGE_ACCOUNTS: (),
}
"""Table -> names of its indexes."""
