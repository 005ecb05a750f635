"""`Trading` that always signs with the key of now, and tells when the exchange refuses it.

1. An order goes out only with a key that custody vouches for at this moment; asking and canceling
   go on with the last one known while custody does not answer.
2. An order is sent a second time only when the exchange refused the key itself, which proves that
   nothing was placed, and only if there is another key by now: a rotation went through meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from trading_platform.exchanges.ports import (
    CancelOutcome,
    LookUp,
    LookUpFailed,
    PlaceOutcome,
    Rejected,
    Trading,
)
from trading_platform.kit.errors import ServiceError
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import Fill, Order, OrderReport

T = TypeVar("T")

_KEY_REFUSALS = {
    ExchangeId.BINANCE: frozenset({"-1022", "-2014", "-2015"}),
    ExchangeId.COINBASE: frozenset({"401"}),
}


class Keys(Protocol):
    """Where an account's key of now is had."""

    async def check(self) -> None:
        """Raises when custody does not vouch for a key at this moment."""

    async def trading(self) -> Trading:
        """The account with the key of now; the same object as long as the key is the same."""

    async def refused(self) -> None:
        """The exchange refused the key: forget what is cached, and look into it."""


class WatchedAccount:
    """One tenant's account, whatever key it has."""

    def __init__(self, exchange_id: ExchangeId, acceptance_window_s: float, keys: Keys) -> None:
        self.exchange_id = exchange_id
        self.acceptance_window_s = acceptance_window_s
        self._keys = keys

    async def place(self, order: Order, instrument: Instrument) -> PlaceOutcome:
        try:
            await self._keys.check()
            account = await self._keys.trading()
        except ServiceError as error:
            return Rejected(code=error.code, message=error.message)
        outcome = await account.place(order, instrument)
        other = await self._other(account, outcome)
        return outcome if other is None else await other.place(order, instrument)

    async def cancel(self, order: Order, instrument: Instrument) -> CancelOutcome:
        try:
            account = await self._keys.trading()
        except ServiceError as error:
            return Rejected(code=error.code, message=error.message)
        outcome = await account.cancel(order, instrument)
        other = await self._other(account, outcome)
        return outcome if other is None else await other.cancel(order, instrument)

    async def look_up(self, order: Order, instrument: Instrument) -> LookUp:
        try:
            account = await self._keys.trading()
        except ServiceError as error:
            return LookUpFailed(error.message)
        return await account.look_up(order, instrument)

    async def open_orders(self) -> Sequence[OrderReport]:
        return await self._read(lambda account: account.open_orders())

    async def fills(self, order: Order, instrument: Instrument) -> Sequence[Fill]:
        return await self._read(lambda account: account.fills(order, instrument))

    async def recent_orders(self, instrument: Instrument, since: datetime) -> Sequence[OrderReport]:
        return await self._read(lambda account: account.recent_orders(instrument, since))

    async def balances(self) -> Sequence[Balance]:
        return await self._read(lambda account: account.balances())

    async def _read(self, ask: Callable[[Trading], Awaitable[T]]) -> T:
        account = await self._keys.trading()
        try:
            return await ask(account)
        except ServiceError as error:
            if error.code != "NOT_AUTHENTICATED":
                raise
            await self._keys.refused()
            other = await self._keys.trading()
            if other is account:
                raise
        return await ask(other)

    async def _other(self, account: Trading, outcome: object) -> Trading | None:
        """The account with another key, when the exchange refused this one and there is one."""
        if not isinstance(outcome, Rejected) or not self._is_key_refusal(outcome):
            return None
        try:
            await self._keys.refused()
            await self._keys.check()
            other = await self._keys.trading()
        except ServiceError:
            return None  # the exchange's refusal says more
        return None if other is account else other

    def _is_key_refusal(self, outcome: Rejected) -> bool:
        # Coinbase's 401 for a wrong time is not about the key.
        refused = outcome.code in _KEY_REFUSALS[self.exchange_id]
        return refused and "timestamp" not in outcome.message
