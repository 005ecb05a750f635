"""Every table and its named indexes, one line each. The names are those of the requirements."""

from collections.abc import Mapping

TENANTS = "tenants"
API_KEYS = "api-keys"
ORDERS = "orders"
IDEMPOTENCY = "idempotency"
KILL_SWITCHES = "kill-switches"
EXCHANGE_ACCOUNTS = "exchange-accounts"
AUDIT = "audit-log"
EXCHANGE_CREDENTIALS = "exchange-credentials"
SECRETS_METADATA = "secrets-metadata"

TABLES: Mapping[str, tuple[str, ...]] = {
    TENANTS: ("by-creation",),
    API_KEYS: ("by-tenant",),
    ORDERS: ("by-status", "by-client-order-id", "live"),
    IDEMPOTENCY: (),
    KILL_SWITCHES: (),
    EXCHANGE_ACCOUNTS: ("by-change", "by-check"),
    AUDIT: (),
    EXCHANGE_CREDENTIALS: (),
    SECRETS_METADATA: ("by-path",),
}
"""Table -> names of its indexes."""
