import pytest

from trading_platform.cache.address import Address, parse_address
from trading_platform.kit.errors import ServiceError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/tp/valkey.sock", Address(path="/run/tp/valkey.sock")),
        ("redis://cache", Address(host="cache", port=6379)),
        ("redis://cache:7000/3", Address(host="cache", port=7000, database=3)),
        (
            "rediss://ann:p%40ss@cache:7000",
            Address(host="cache", port=7000, tls=True, username="ann", password="p@ss"),
        ),
        ("redis://:secret@cache", Address(host="cache", password="secret")),
    ],
)
def test_url_is_read(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url", ["", "cache:6379", "http://cache", "unix://relative", "redis://h:port", "redis://h/x"]
)
def test_other_text_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ServiceError, match="redis://host") as refused:
        parse_address(url)
    assert refused.value.code == "INVALID_REQUEST"


def test_password_shows_nowhere_but_in_the_handshake() -> None:
    address = parse_address("rediss://ann:hunter2@cache:7000/2")
    assert "hunter2" not in f"{address} {address!r}"
    assert address.handshake() == (("AUTH", "ann", "hunter2"), ("SELECT", 2), ("PING",))
