"""Secrets from a person or a program: a prompt, a file descriptor or stdin; never the command line.

What stands on a command line is seen by every user of the machine and kept in shell histories.
"""

import getpass
import os
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

from trading_platform.kit.errors import ServiceError

BYTES_MAX = 8192
_HOW = "Type it at the prompt, name a file descriptor, or pipe it in."


def read_key(given: str | None) -> str:
    """The API key, which names the pair and is no secret; asked for when it was not given."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ServiceError("name the exchange's API key with --key.", "INVALID_REQUEST")
    return input("API key: ").strip()


def read_secrets(
    *, secret_fd: int | None, passphrase_fd: int | None, with_passphrase: bool
) -> tuple[str, str | None]:
    """The API secret and, where there is one, the passphrase.

    Piped in without a file descriptor: the secret, with a passphrase the line after it.
    """
    if secret_fd is None and not sys.stdin.isatty():
        return _from_stdin(passphrase_fd, with_passphrase=with_passphrase)
    secret = _asked("API secret: ") if secret_fd is None else _from_fd(secret_fd)
    if not with_passphrase:
        return secret, None
    passphrase = _asked("Passphrase: ") if passphrase_fd is None else _from_fd(passphrase_fd)
    return secret, passphrase


def refuse_open_roads(url: str) -> None:
    """Secrets do not travel over plain http, except to this machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
        return
    raise ServiceError(
        f"{url} is plain http to another machine, where anybody on the way could read the secret. "
        "Use https, or run this on the platform's own machine.",
        "INVALID_REQUEST",
    )


def _from_stdin(passphrase_fd: int | None, *, with_passphrase: bool) -> tuple[str, str | None]:
    text = _text(sys.stdin.buffer.read(BYTES_MAX + 1), "stdin")
    if not with_passphrase:
        return text, None
    if passphrase_fd is not None:
        return text, _from_fd(passphrase_fd)
    secret, _, passphrase = text.partition("\n")
    return secret.removesuffix("\r"), passphrase


def _from_fd(number: int) -> str:
    try:
        with os.fdopen(os.dup(number), "rb") as stream:
            return _text(stream.read(BYTES_MAX + 1), f"file descriptor {number}")
    except OSError as error:
        raise ServiceError(
            f"file descriptor {number} cannot be read ({error.strerror}). {_HOW}", "INVALID_REQUEST"
        ) from error


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise ServiceError(f"there is nobody to ask for it. {_HOW}", "INVALID_REQUEST")
    return getpass.getpass(prompt)


def _text(content: bytes, where: str) -> str:
    if len(content) > BYTES_MAX:
        raise ServiceError(f"{where} holds more than {BYTES_MAX} bytes.", "INVALID_REQUEST")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # The cause is dropped on purpose: it quotes what it read.
        raise ServiceError(f"{where} holds no text.", "INVALID_REQUEST") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ServiceError(f"{where} is empty. {_HOW}", "INVALID_REQUEST")
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
