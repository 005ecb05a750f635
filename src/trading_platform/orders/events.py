"""What can happen to an order. `at` is when we learned of it (aware UTC)."""

from datetime import datetime

import msgspec

from trading_platform.market.orders import Fill, OrderReport


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The request is about to leave."""

    at: datetime


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange said where the order stands."""

    report: OrderReport
    at: datetime


class FillReported(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange listed executions of the order."""

    exchange_order_id: str
    fills: tuple[Fill, ...]
    at: datetime


class RejectedByExchange(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the submission: refused, and by the exchange's rules nothing was done."""

    code: str
    message: str
    at: datetime


class OutcomeUnknown(msgspec.Struct, frozen=True, kw_only=True):
    """The submission may or may not have arrived; it was signed no later than `at`."""

    reason: str
    at: datetime


class NotPlacedConcluded(msgspec.Struct, frozen=True, kw_only=True):
    """It can no longer be accepted, and no witness has seen it (orders/evidence.py)."""

    reason: str
    at: datetime


class CanceledConcluded(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange had the order and no longer knows it (Coinbase purges empty canceled ones)."""

    reason: str
    at: datetime


class DeniedBeforeSend(msgspec.Struct, frozen=True, kw_only=True):
    """We stopped the order after its intent was stored and before anything was sent."""

    reason: str
    at: datetime


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Its owner wants it canceled."""

    at: datetime


class CancelRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange refused the cancel; the order works on."""

    reason: str
    at: datetime


OrderEvent = (
    Sent
    | Reported
    | FillReported
    | RejectedByExchange
    | OutcomeUnknown
    | NotPlacedConcluded
    | CanceledConcluded
    | DeniedBeforeSend
    | CancelAsked
    | CancelRefused
)
