"""Where a Valkey or Redis server listens, read from a URL."""

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from trading_platform.kit.errors import ServiceError

Word = str | bytes | int
Handshake = tuple[tuple[Word, ...], ...]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One server. `path` is set for a unix socket, otherwise `host` and `port`."""

    path: str | None = None
    host: str = ""
    port: int = 6379
    tls: bool = False
    username: str | None = None
    password: str | None = None
    database: int = 0

    def __repr__(self) -> str:
        return f"Address({self})"

    def __str__(self) -> str:
        """The place without its password, for messages and logs."""
        scheme = "unix" if self.path else "rediss" if self.tls else "redis"
        return f"{scheme}://{self.path or f'{self.host}:{self.port}'}"

    def handshake(self) -> Handshake:
        """What to say before the first command; every answer but an error is fine."""
        said: list[tuple[Word, ...]] = []
        if self.password is not None:
            user = (self.username,) if self.username else ()
            said.append(("AUTH", *user, self.password))
        if self.database:
            said.append(("SELECT", self.database))
        return (*said, ("PING",))


def parse_address(url: str) -> Address:
    """`unix:///path`, `redis://[user:password@]host[:port][/database]` or `rediss://` for TLS.

    The message of a refusal never repeats the URL, which may hold a password.
    """
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix" and PurePosixPath(parts.path).is_absolute():
            return Address(path=unquote(parts.path))
        if parts.scheme in ("redis", "rediss") and parts.hostname:
            return Address(
                host=parts.hostname,
                port=parts.port or 6379,
                tls=parts.scheme == "rediss",
                username=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password is not None else None,
                database=int(parts.path.strip("/") or 0),
            )
    except ValueError as error:
        raise _not_an_address() from error
    raise _not_an_address()


def _not_an_address() -> ServiceError:
    return ServiceError(
        "The cache address must look like redis://host:6379/0, rediss://host:6379 or"
        " unix:///path/to/socket.",
        "INVALID_REQUEST",
    )
