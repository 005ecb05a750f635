"""Facts that other parts want to hear of; they travel on the bus."""

from datetime import datetime

import msgspec

from trading_platform.market.orders import Order


class OrderChanged(msgspec.Struct, frozen=True, kw_only=True):
    """An order took a new state, which is already stored."""

    order: Order


class KillSwitchChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A kill switch was activated or released. `scope` is "platform", "exchange:<id>" or
    "tenant:<id>".
    """

    scope: str
    active: bool
    epoch: int
    reason: str
    actor: str
    event_at: datetime


class FeedChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A price feed connected, disconnected or missed messages."""

    exchange_id: str
    what: str
    event_at: datetime


class CredentialSuspended(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's key at an exchange is not used for new orders any more; `reason` says why."""

    tenant_id: str
    exchange_id: str
    reason: str
    event_at: datetime
