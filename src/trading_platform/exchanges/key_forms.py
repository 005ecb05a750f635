"""Mistakes in a pasted key that show before the exchange is asked. Pure; messages quote nothing.

Only what cannot be right is refused: exchanges change their keys' looks without telling.
"""

import base64
import binascii
import re

from trading_platform.exchanges.rights import Refusal
from trading_platform.kit.hidden import HiddenText
from trading_platform.market.instruments import ExchangeId, ExchangeMode

TEXT_MAX = 4096
_PEM = "PRIVATE KEY-----"
_BINANCE = re.compile(r"[A-Za-z0-9]{64}")
_COINBASE_KEY = re.compile(r"[0-9a-f]{32}")
_SECRET_BYTES_MIN = 32
_SIMULATED_LEAD = "simulated-"


def form_problem(
    exchange_id: ExchangeId,
    mode: ExchangeMode,
    api_key: str,
    api_secret: str,
    passphrase: str | None,
) -> Refusal | None:
    """What is wrong with the three texts, None where nothing shows."""
    parts = [("API key", api_key), ("API secret", api_secret)]
    parts += [] if passphrase is None else [("passphrase", passphrase)]
    for name, text in parts:
        problem = _text_problem(name, text)
        if problem is not None:
            return problem
    if api_key == api_secret:
        return Refusal("SAME", "the API key and the API secret are the same text")
    if _swapped(exchange_id, api_key, api_secret):
        return Refusal("SWAPPED", "the API key and the API secret are swapped")
    return _exchange_problem(exchange_id, mode, api_key, api_secret, passphrase)


def _text_problem(name: str, text: str) -> Refusal | None:
    if not text.strip():
        return Refusal("EMPTY", f"the {name} is empty")
    if len(text) > TEXT_MAX:
        return Refusal("TOO_LONG", f"the {name} is longer than {TEXT_MAX} characters")
    if text.strip() != text and not _is_pem(text):
        return Refusal("SPACES", f"the {name} has spaces or line breaks around it; paste it bare")
    if text[0] in "\"'`" or text[-1] in "\"'`":
        return Refusal("QUOTES", f"the {name} has quotation marks around it; paste it bare")
    bare = text.replace("\n", "").replace("\r", "") if _is_pem(text) else text
    if not (bare.isascii() and bare.isprintable()):
        return Refusal("STRANGE", f"the {name} has characters that no key has; paste it anew")
    if " " in text and not _is_pem(text):
        return Refusal("SPACES", f"the {name} has spaces inside; paste it in one piece")
    return None


def _swapped(exchange_id: ExchangeId, api_key: str, api_secret: str) -> bool:
    if _is_pem(api_key) or api_secret.startswith(_SIMULATED_LEAD):
        return True
    if exchange_id is not ExchangeId.COINBASE:
        return False  # an HMAC secret of Binance looks as its key does; the exchange will tell
    return bool(_COINBASE_KEY.fullmatch(api_secret)) and _is_long_base64(api_key)


def _exchange_problem(
    exchange_id: ExchangeId,
    mode: ExchangeMode,
    api_key: str,
    api_secret: str,
    passphrase: str | None,
) -> Refusal | None:
    if exchange_id is ExchangeId.BINANCE:
        if passphrase is not None:
            return Refusal("PASSPHRASE", "Binance keys have no passphrase; leave it out")
        if mode is ExchangeMode.SIMULATED:
            return None
        return _binance_problem(api_key, api_secret)
    return _coinbase_problem(api_key, api_secret, passphrase)


def _binance_problem(api_key: str, api_secret: str) -> Refusal | None:
    if not _BINANCE.fullmatch(api_key):
        return Refusal("FORM", "a Binance API key is 64 letters and digits; part of it is missing")
    if _BINANCE.fullmatch(api_secret) or _is_pem(api_secret):
        return None
    return Refusal(
        "FORM",
        "a Binance API secret is 64 letters and digits, or an Ed25519 private key as PEM text",
    )


def _coinbase_problem(api_key: str, api_secret: str, passphrase: str | None) -> Refusal | None:
    if passphrase is None:
        return Refusal("PASSPHRASE", "a Coinbase key comes with a passphrase; send it too")
    if _is_long_base64(passphrase):
        return Refusal("SWAPPED", "the passphrase and the API secret are swapped")
    if not _is_long_base64(api_secret):
        return Refusal("FORM", "a Coinbase API secret is base64 text; paste it exactly as shown")
    if _is_long_base64(api_key) and not _COINBASE_KEY.fullmatch(api_key):
        return Refusal("FORM", "this looks like an API secret where the API key belongs")
    return None


def _is_pem(text: str) -> bool:
    return _PEM in text


def _is_long_base64(text: str) -> bool:
    text = HiddenText(text)  # what is no base64 raises here, and tracebacks may show variables
    try:
        return len(base64.b64decode(text, validate=True)) >= _SECRET_BYTES_MIN
    except (binascii.Error, ValueError):
        return False
