"""What a tenant holds at an exchange."""

from decimal import Decimal

import msgspec


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """One currency of one account: `free` can be used, `held` is locked by open orders."""

    currency: str
    free: Decimal
    held: Decimal
