"""What an operator can set, by environment variable or CLI option; read once, at the edge."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.model import Secret
from trading_platform.secrets.place import Place, parse_place

PREFIX = "TRADING_PLATFORM_"
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")


class ExchangeSetting(msgspec.Struct, frozen=True, kw_only=True):
    """Which environment of an exchange to use; `url` is where a SIMULATED one listens."""

    mode: ExchangeMode
    url: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the composition root needs to know."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    valkey_url: str | None = None
    exchanges: Mapping[ExchangeId, ExchangeSetting] = {}
    symbols: tuple[str, ...] = ("BTC-USD", "BTC-USDT", "ETH-USD", "ETH-USDT", "USDT-USD")
    log_level: str = "INFO"


def default_data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The per-user data directory of this operating system."""
    named = environment.get(f"{PREFIX}DATA")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "trading-platform"
    base = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "trading-platform"


def secrets_place(environment: Mapping[str, str] = os.environ) -> Place:
    """Where this deployment keeps its secrets (default: sealed in its own records)."""
    file = environment.get(f"{PREFIX}PASSPHRASE_FILE")
    return parse_place(
        environment.get(f"{PREFIX}SECRETS") or "local",
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        endpoint_url=environment.get("AWS_ENDPOINT_URL"),
        passphrase=read_passphrase(Path(file) if file else None),
    )


def read_passphrase(file: Path | None) -> Secret | None:
    """The first line of a file that only its owner can read; None without a file."""
    if file is None:
        return None
    try:
        mode = file.stat().st_mode & 0o077
        line = file.read_text().split("\n", 1)[0]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ServiceError(
            f"the passphrase cannot be read from {file}: {reason}", "UNUSABLE_DATA"
        ) from None
    if mode or not line:
        fault = "can be read by other accounts; chmod go= it" if mode else "is empty"
        raise ServiceError(f"the passphrase file {file} {fault}", "UNUSABLE_DATA")
    return Secret(line)


def parse_exchange(text: str) -> tuple[ExchangeId, ExchangeSetting]:
    """`BINANCE=PRODUCTION`, `COINBASE=SANDBOX`, or `BINANCE=http://host:port` (a simulated one)."""
    name, _, what = text.partition("=")
    try:
        exchange_id = ExchangeId(name.upper())
        if what.startswith(("http://", "https://")):
            url = _address(what)
            return exchange_id, ExchangeSetting(mode=ExchangeMode.SIMULATED, url=url)
        mode = ExchangeMode(what.upper())
        if mode is ExchangeMode.SIMULATED:
            raise ValueError
    except ValueError as error:
        raise ServiceError(
            f"{text!r} names no exchange. Write BINANCE or COINBASE, then =PRODUCTION, =SANDBOX, "
            "or =http://host:port of a simulated one.",
            "INVALID_REQUEST",
        ) from error
    return exchange_id, ExchangeSetting(mode=mode)


def parse_exchanges(texts: Sequence[str]) -> dict[ExchangeId, ExchangeSetting]:
    """Every exchange named, each once."""
    pairs = [parse_exchange(text) for text in texts]
    exchanges = dict(pairs)
    if len(exchanges) < len(pairs):
        raise ServiceError(
            "an exchange is named twice; give each --exchange once.", "INVALID_REQUEST"
        )
    return exchanges


def parse_symbols(text: str) -> tuple[str, ...]:
    """`BTC-USD,eth-usd`: symbols in our form, each once."""
    names = tuple(dict.fromkeys(name.strip().upper() for name in text.split(",")))
    for name in names:
        if not _SYMBOL.fullmatch(name):
            raise ServiceError(
                f"{name!r} is no symbol; write them as base-quote joined by commas, such as "
                "BTC-USD,ETH-USDT.",
                "INVALID_REQUEST",
            )
    return names


def _address(url: str) -> str:
    """Scheme, host and port; ValueError where that is not what it is."""
    parts = urlsplit(url)
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.port == 0:
        raise ValueError
    parts.hostname.encode("idna")
    return url.rstrip("/")
