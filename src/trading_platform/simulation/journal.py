"""What a simulated exchange remembers across `kill -9`: one JSON line for each operation.

A line is written and flushed to the operating system before anybody is told, without fsync: it
survives the death of the process, not the loss of power. A torn last line is an operation nobody
was told of and is dropped. Opening writes the folded state back as one line (compaction).
"""

import os
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.simulation.model import SimBalance, SimKey, SimOrder, SimTrade


class Wallet(msgspec.Struct, frozen=True):
    """One currency of one account."""

    account_id: str
    balance: SimBalance


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The new values of everything that one operation changed."""

    keys: tuple[SimKey, ...] = ()
    revoked_keys: tuple[str, ...] = ()
    orders: tuple[SimOrder, ...] = ()
    trades: tuple[SimTrade, ...] = ()
    wallets: tuple[Wallet, ...] = ()
    external: dict[str, Decimal] = {}
    fees: dict[str, Decimal] = {}
    trade_ids: dict[str, int] = {}
    last_order_id: int = 0
    next_execution_id: int = 0


class Memory:
    """The fold of all changes."""

    def __init__(self) -> None:
        self.keys: dict[str, SimKey] = {}
        self.orders: dict[int, SimOrder] = {}
        self.trades: list[SimTrade] = []
        self.wallets: dict[tuple[str, str], Wallet] = {}
        self.external: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        self.trade_ids: dict[str, int] = {}
        self.last_order_id = 0
        self.next_execution_id = 0

    def apply(self, change: Change) -> None:
        """Take one operation."""
        self.keys.update((key.api_key, key) for key in change.keys)
        for api_key in change.revoked_keys:
            self.keys.pop(api_key, None)
        self.orders.update((order.order_id, order) for order in change.orders)
        self.trades.extend(change.trades)
        for wallet in change.wallets:
            self.wallets[wallet.account_id, wallet.balance.currency] = wallet
        self.external.update(change.external)
        self.fees.update(change.fees)
        self.trade_ids.update(change.trade_ids)
        self.last_order_id = max(self.last_order_id, change.last_order_id)
        self.next_execution_id = max(self.next_execution_id, change.next_execution_id)

    def as_change(self) -> Change:
        """Everything as one change."""
        return Change(
            keys=tuple(self.keys.values()),
            orders=tuple(self.orders.values()),
            trades=tuple(self.trades),
            wallets=tuple(self.wallets.values()),
            external=self.external,
            fees=self.fees,
            trade_ids=self.trade_ids,
            last_order_id=self.last_order_id,
            next_execution_id=self.next_execution_id,
        )

    def forget_old(self, orders_max: int) -> None:
        """Drop the oldest closed orders, and their trades, beyond `orders_max`."""
        closed = sorted(key for key, order in self.orders.items() if not order.open)
        for order_id in closed[: max(0, len(closed) - orders_max)]:
            del self.orders[order_id]
        self.trades = [trade for trade in self.trades if trade.order_id in self.orders]


class Journal:
    """An append-only file of changes. One process at a time may hold it."""

    def __init__(self, path: Path, *, closed_orders_max: int = 20_000) -> None:
        self.memory = Memory()
        """What was on file at opening."""
        self._encoder = msgspec.json.Encoder()
        for change in _read(path):
            self.memory.apply(change)
        self.memory.forget_old(closed_orders_max)
        self._file = self._compact(path)

    def write(self, change: Change) -> None:
        """Append one operation; returns once the operating system has it."""
        self._file.write(self._encoder.encode(change) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _compact(self, path: Path) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._encoder.encode(self.memory.as_change()) + b"\n")
        os.replace(fresh, path)
        return path.open("ab")


def _read(path: Path) -> Iterable[Change]:
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(Change)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and number > 1:
                return  # torn by a crash in the middle of a write; the first line is put whole
            try:
                if not line.endswith(b"\n"):
                    raise msgspec.DecodeError("it is cut off")
                yield decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ServiceError(
                    f"line {number} of the simulated exchange's journal {path} cannot be read; "
                    "move the file away to start with empty accounts.",
                    "UNUSABLE_DATA",
                ) from error
