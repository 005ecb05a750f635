"""What a key may do at its exchange, and whether we take it. Pure.

A right that the exchange did not speak of is unknown, and unknown is refused: a key is taken only
on the exchange's own word that it can read and trade and cannot move money away.
"""

from collections.abc import Iterable, Mapping

import msgspec

from trading_platform.market.instruments import ExchangeId, ExchangeMode

Facts = Mapping[str, bool | None]
"""What one answer says of the rights below; None where a field that belongs there is missing."""

NEEDED = ("read", "trade")
FORBIDDEN = ("withdraw", "transfer")
IP_RESTRICTED = "ip_restricted"


class KeyRights(msgspec.Struct, frozen=True, kw_only=True):
    """Rights of one key. Only those named in `verified` were told by the exchange; the others are
    False here and unknown. `ip_restricted` None: the exchange lets nobody read it.
    """

    read: bool
    trade: bool
    withdraw: bool
    transfer: bool
    ip_restricted: bool | None
    verified: frozenset[str]

    def names(self) -> frozenset[str]:
        """The rights that the key is known to have."""
        return frozenset(name for name in (*NEEDED, *FORBIDDEN) if getattr(self, name))


class Refusal(msgspec.Struct, frozen=True):
    """Why we do not take a key: a word for programs and a sentence for people."""

    code: str
    message: str


_WHERE: Mapping[ExchangeId, str] = {
    ExchangeId.BINANCE: "at Binance under Account > API Management > Edit restrictions",
    ExchangeId.COINBASE: "at Coinbase Exchange under Settings > API, where a key's permissions "
    "cannot be edited: make a new key with View and Trade only",
}
_SWITCHES: Mapping[ExchangeId, Mapping[str, str]] = {
    ExchangeId.BINANCE: {
        "read": "Enable Reading",
        "trade": "Enable Spot & Margin Trading",
        "withdraw": "Enable Withdrawals",
        "transfer": "Permits Universal Transfer and Enable Internal Transfer",
    },
    ExchangeId.COINBASE: {
        "read": "View",
        "trade": "Trade",
        "withdraw": "Transfer",
        "transfer": "Transfer",
    },
}
_DOES = {
    "read": "read the account",
    "trade": "trade",
    "withdraw": "withdraw money",
    "transfer": "transfer money",
    IP_RESTRICTED: "be used from listed addresses only",
}


def must_be_told(exchange_id: ExchangeId, mode: ExchangeMode) -> tuple[str, ...]:
    """The rights without whose verification a key is refused.

    Sandboxes have no withdrawals and no transfers, so that nothing there could tell.
    """
    if mode is ExchangeMode.SANDBOX:
        return NEEDED
    if exchange_id is ExchangeId.BINANCE:
        return (*NEEDED, *FORBIDDEN, IP_RESTRICTED)
    return (*NEEDED, *FORBIDDEN)


def rights_of(answers: Iterable[Facts]) -> KeyRights:
    """All that several answers say together: the most careful reading wins."""
    told: dict[str, list[bool | None]] = {}
    for facts in answers:
        for name, value in facts.items():
            told.setdefault(name, []).append(value)
    known = {name: _together(name, values) for name, values in told.items()}
    return KeyRights(
        read=known.get("read") is True,
        trade=known.get("trade") is True,
        withdraw=known.get("withdraw") is True,
        transfer=known.get("transfer") is True,
        ip_restricted=known.get(IP_RESTRICTED),
        verified=frozenset(name for name, value in known.items() if value is not None),
    )


def judge(exchange_id: ExchangeId, rights: KeyRights, mode: ExchangeMode) -> Refusal | None:
    """The first reason not to take the key, the most dangerous first; None when it is fit."""
    for name in FORBIDDEN:
        if getattr(rights, name):
            return Refusal(f"MAY_{name.upper()}", _may(exchange_id, name))
    for name in must_be_told(exchange_id, mode):
        if name not in rights.verified:
            return Refusal("NOT_TOLD", _not_told(exchange_id, name))
    for name in NEEDED:
        if not getattr(rights, name):
            return Refusal(f"CANNOT_{name.upper()}", _cannot(exchange_id, name))
    return None


def ip_words(rights: KeyRights) -> str:
    """The IP restriction as a person reads it: "true", "false" or "cannot be read"."""
    return "cannot be read" if rights.ip_restricted is None else str(rights.ip_restricted).lower()


def _together(name: str, values: list[bool | None]) -> bool | None:
    if name in FORBIDDEN and True in values:
        return True
    if None in values:
        return None
    return any(values) if name in FORBIDDEN else all(values)


def _may(exchange_id: ExchangeId, name: str) -> str:
    return (
        f"this key may {_DOES[name]}, and keys that may are not taken: switch off "
        f"`{_SWITCHES[exchange_id][name]}` {_WHERE[exchange_id]}"
    )


def _cannot(exchange_id: ExchangeId, name: str) -> str:
    return (
        f"this key may not {_DOES[name]}: switch on `{_SWITCHES[exchange_id][name]}` "
        f"{_WHERE[exchange_id]}"
    )


def _not_told(exchange_id: ExchangeId, name: str) -> str:
    return (
        f"{exchange_id} did not say whether this key may {_DOES[name]}, and what is not known is "
        "not taken; try again, and report it if it lasts"
    )
