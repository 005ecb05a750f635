"""Walls around opened secrets: which files may open one, and what may ever be signed."""

import ast
from pathlib import Path

import pytest

from trading_platform.exchanges.dialect import HttpRequest, Security
from trading_platform.exchanges.signer import SIGNABLE, in_process_signer
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.simulation.credentials import simulated_keys

SRC = Path(__file__).parent.parent / "src" / "trading_platform"
MAY_OPEN = {"exchanges/signer.py"}


def openings(source: str) -> list[int]:
    """Lines that call `.open()` without arguments, as a Secret is opened, or reach inside one."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr == "_text")
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "open"
            and not node.args
            and not node.keywords
        )
    ]


def test_the_search_finds_what_it_is_looking_for() -> None:
    assert openings("credentials.api_secret.open()") == [1]
    assert openings("x = 1\nsecret._text") == [2]
    assert openings("path.open('rb')\nSqliteRecords.open(file)") == []


def test_only_the_signer_and_the_vault_open_a_secret() -> None:
    found = {
        path.relative_to(SRC).as_posix(): lines
        for path in SRC.rglob("*.py")
        if (lines := openings(path.read_text()))
    }
    outside = {
        name: lines
        for name, lines in found.items()
        if name not in MAY_OPEN and not name.startswith("secrets/")
    }
    assert "exchanges/signer.py" in found  # the search finds what it is looking for
    assert outside == {}


def test_nothing_but_the_factory_and_the_prober_makes_a_signer() -> None:
    makers = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if "in_process_signer" in path.read_text()
    }
    assert makers == {"exchanges/signer.py", "exchanges/factory.py", "exchanges/prober.py"}


def signer(exchange_id: ExchangeId) -> object:
    keys = simulated_keys("wall")
    return in_process_signer(
        exchange_id,
        "https://exchange.example",
        ExchangeCredentials(
            api_key=keys.api_key,
            api_secret=Secret(keys.api_secret),
            passphrase=Secret(keys.passphrase),
        ),
    )


def signed(exchange_id: ExchangeId, method: str, path: str, **fields: object) -> object:
    request = HttpRequest(method=method, path=path, security=Security.SIGNED, **fields)  # type: ignore[arg-type]  # a test's shorthand
    return signer(exchange_id).sign(request, 1_700_000_000_000)  # type: ignore[attr-defined]  # a Signer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{ }",
        b'{"amount":"1"}',
        b'{"amount":"1","currency":"BTC","crypto_address":"x"}',
        b"{}{}",
        b"{}\n",
    ],
)
def test_a_withdrawal_is_never_signed_with_anything_in_it(body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        signed(ExchangeId.COINBASE, "POST", "/withdrawals/crypto", body=body)
    assert caught.value.code == "NOT_PERMITTED"


def test_the_question_whether_a_key_may_withdraw_is_signed_as_it_is() -> None:
    assert signed(ExchangeId.COINBASE, "POST", "/withdrawals/crypto", body=b"{}")
    query = (("amount", "1"),)
    with pytest.raises(ServiceError):
        signed(ExchangeId.COINBASE, "POST", "/withdrawals/crypto", body=b"{}", query=query)


MONEY = [
    (ExchangeId.COINBASE, "POST", "/withdrawals/coinbase-account"),
    (ExchangeId.COINBASE, "POST", "/withdrawals/payment-method"),
    (ExchangeId.COINBASE, "GET", "/withdrawals/crypto"),
    (ExchangeId.COINBASE, "DELETE", "/withdrawals/crypto"),
    (ExchangeId.COINBASE, "POST", "/withdrawals/crypto/"),
    (ExchangeId.COINBASE, "POST", "/withdrawals/Crypto"),
    (ExchangeId.COINBASE, "POST", "/transfers"),
    (ExchangeId.COINBASE, "POST", "/profiles/transfer"),
    (ExchangeId.COINBASE, "POST", "/conversions"),
    (ExchangeId.BINANCE, "POST", "/sapi/v1/capital/withdraw/apply"),
    (ExchangeId.BINANCE, "POST", "/sapi/v1/asset/transfer"),
    (ExchangeId.BINANCE, "POST", "/sapi/v1/account/apiRestrictions"),
    (ExchangeId.BINANCE, "POST", "/sapi/v1/sub-account/universalTransfer"),
    (ExchangeId.BINANCE, "GET", "/sapi/v1/capital/withdraw/history"),
    (ExchangeId.BINANCE, "GET", "/sapi/v1/account/apiRestrictions/ipList"),
    (ExchangeId.BINANCE, "DELETE", "/sapi/v1/account/apiRestrictions"),
]


@pytest.mark.parametrize(("exchange_id", "method", "path"), MONEY)
def test_what_moves_money_is_not_signed(exchange_id: ExchangeId, method: str, path: str) -> None:
    with pytest.raises(ServiceError) as caught:
        signed(exchange_id, method, path, body=b"{}" if method == "POST" else b"")
    assert caught.value.code == "NOT_PERMITTED"


def test_the_list_of_signable_paths_holds_one_withdrawal_path_and_no_transfer() -> None:
    patterns = [p.pattern for methods in SIGNABLE.values() for p in methods.values()]
    together = " ".join(patterns).lower()
    assert together.count("withdraw") == 1
    assert "transfer" not in together
