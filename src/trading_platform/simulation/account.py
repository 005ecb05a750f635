"""The money of the simulated exchange: every account's wallets, the outside world, and the fees.

For every currency, the sum of all wallets, `external` and `fees` stays what was deposited; no
wallet ever holds less than zero, free or locked.
"""

from decimal import Decimal

from trading_platform.simulation.model import ZERO, SimBalance


class Ledger:
    """Balances by account and currency; remembers which ones changed until `drain`."""

    def __init__(self) -> None:
        self._free: dict[tuple[str, str], Decimal] = {}
        self._locked: dict[tuple[str, str], Decimal] = {}
        self.external: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        self._changed: dict[tuple[str, str], None] = {}

    def free(self, account_id: str, currency: str) -> Decimal:
        """What can be used."""
        return self._free.get((account_id, currency), ZERO)

    def balance(self, account_id: str, currency: str) -> SimBalance:
        """One currency; zeros when never held."""
        key = (account_id, currency)
        return SimBalance(
            currency=currency, free=self._free.get(key, ZERO), locked=self._locked.get(key, ZERO)
        )

    def balances(self, account_id: str) -> list[SimBalance]:
        """Every currency that the account ever held, in order of arrival."""
        return [self.balance(account_id, key[1]) for key in self._free if key[0] == account_id]

    def account_ids(self) -> set[str]:
        """Every account that ever held anything."""
        return {account_id for account_id, _ in self._free}

    def restore(self, account_id: str, balance: SimBalance) -> None:
        """Set a wallet as it was; not a movement."""
        self._free[account_id, balance.currency] = balance.free
        self._locked[account_id, balance.currency] = balance.locked

    def credit(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Add to what is free."""
        self._move(account_id, currency, amount, ZERO)

    def lock(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Hold a part of what is free for an order."""
        self._move(account_id, currency, -amount, amount)

    def unlock(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Give back what an order no longer needs."""
        self._move(account_id, currency, amount, -amount)

    def spend_locked(self, account_id: str, currency: str, amount: Decimal) -> None:
        """Pay from what is held."""
        self._move(account_id, currency, ZERO, -amount)

    def pay_external(self, currency: str, amount: Decimal) -> None:
        """The other side of an account's movement; own against own nets to zero."""
        self.external[currency] = self.external.get(currency, ZERO) + amount

    def pay_fee(self, currency: str, amount: Decimal) -> None:
        """The exchange's income."""
        self.fees[currency] = self.fees.get(currency, ZERO) + amount

    def drain(self) -> dict[str, list[SimBalance]]:
        """The balances changed since the last call, by account."""
        changed: dict[str, list[SimBalance]] = {}
        for account_id, currency in self._changed:
            changed.setdefault(account_id, []).append(self.balance(account_id, currency))
        self._changed = {}
        return changed

    def _move(self, account_id: str, currency: str, free: Decimal, locked: Decimal) -> None:
        key = (account_id, currency)
        new_free = self._free.get(key, ZERO) + free
        new_locked = self._locked.get(key, ZERO) + locked
        if new_free < 0 or new_locked < 0:
            raise ArithmeticError(
                f"{account_id} {currency} would hold {new_free} free and {new_locked} locked"
            )
        self._free[key], self._locked[key] = new_free, new_locked
        self._changed[key] = None
