"""Keys of simulated accounts, derived from a name so that a platform and a simulated exchange that
run apart agree on them. They guard play money: anybody can derive them.
"""

import base64
import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

PREFIX = "simulated-"
OPENING_BALANCES: Mapping[str, Decimal] = {
    "BTC": Decimal(1),
    "ETH": Decimal(10),
    "USDT": Decimal(100_000),
    "USD": Decimal(100_000),
}
"""What a simulated account starts with."""


class SimulatedKeys(NamedTuple):
    """What signs for one simulated account, on either exchange."""

    api_key: str
    api_secret: str
    passphrase: str


def simulated_keys(name: str) -> SimulatedKeys:
    """The keys of the account called `name` (a tenant's id, or anything without spaces)."""
    return keys_of(PREFIX + name)


def keys_of(api_key: str) -> SimulatedKeys:
    """The other two parts of a simulated key; the secret is base64, as Coinbase wants it."""
    digest = hashlib.sha512(f"simulated exchange {api_key}".encode()).digest()
    secret = base64.b64encode(digest).decode()
    return SimulatedKeys(api_key, secret, digest[:8].hex())
