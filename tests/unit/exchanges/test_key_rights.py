"""Which keys are taken: the whole table, by rule and by asking simulated exchanges over sockets."""

import itertools
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from tests.custody import House, a_house, a_key
from trading_platform.exchanges import binance_rights, coinbase_rights
from trading_platform.exchanges.binance_rights import BinanceRights
from trading_platform.exchanges.coinbase_rights import CoinbaseRights
from trading_platform.exchanges.dialect import HttpResponse
from trading_platform.exchanges.rights import ip_words, judge, rights_of
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.model import ExchangeCredentials

BINANCE, COINBASE = ExchangeId.BINANCE, ExchangeId.COINBASE
LIVE = [ExchangeMode.PRODUCTION, ExchangeMode.SIMULATED]
FIELDS = (
    "enableReading",
    "enableSpotAndMarginTrading",
    "enableWithdrawals",
    "enableInternalTransfer",
    "permitsUniversalTransfer",
    "ipRestrict",
)
FIT: dict[str, Any] = {
    "ipRestrict": True,
    "createTime": 1765000000000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "permitsUniversalTransfer": False,
    "enableSpotAndMarginTrading": True,
}


def says(status: int, body: Any) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=status, headers={}, body=raw)


def subsets(names: Iterable[str]) -> list[frozenset[str]]:
    rows = list(names)
    counts = range(len(rows) + 1)
    return [frozenset(some) for n in counts for some in itertools.combinations(rows, n)]


def judged(answer: dict[str, Any], account: Any = True) -> str | None:
    """Why a Binance key with these restrictions is refused."""
    told = [
        binance_rights.read_restrictions(says(200, answer)),
        binance_rights.read_account(says(200, {"canTrade": account})),
    ]
    refusal = judge(BINANCE, rights_of(told), ExchangeMode.PRODUCTION)
    return None if refusal is None else refusal.code


@pytest.mark.parametrize("on", subsets(FIELDS), ids=lambda on: "+".join(sorted(on)) or "nothing")
def test_of_all_combinations_at_binance_only_read_and_trade_pass(on: frozenset[str]) -> None:
    fit = on - {"ipRestrict"} == {"enableReading", "enableSpotAndMarginTrading"}
    assert (judged({name: name in on for name in FIELDS}) is None) == fit


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_a_refusal_and_never_a_pass(name: str) -> None:
    answer = {key: value for key, value in FIT.items() if key != name}
    assert judged(FIT) is None
    assert judged(answer) == "NOT_TOLD"
    assert judged({**answer, name: None}) == "NOT_TOLD"


def test_a_transfer_right_shows_although_the_other_kind_is_missing() -> None:
    answer = {**FIT, "permitsUniversalTransfer": True}
    del answer["enableInternalTransfer"]
    assert judged(answer) == "MAY_TRANSFER"


@pytest.mark.parametrize("value", ["false", 0, [], {}])
def test_a_field_of_another_type_is_no_answer(value: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        judged({**FIT, "enableWithdrawals": value})
    assert caught.value.code == "EXCHANGE_UNAVAILABLE"


@pytest.mark.parametrize(("can", "code"), [(False, "CANNOT_TRADE"), (None, "NOT_TOLD")])
def test_an_account_that_may_not_trade_is_refused(can: Any, code: str) -> None:
    assert judged(FIT, can) == code


@pytest.mark.parametrize("mode", LIVE)
@pytest.mark.parametrize("exchange_id", ExchangeId)
def test_nothing_told_is_nothing_taken(exchange_id: ExchangeId, mode: ExchangeMode) -> None:
    assert judge(exchange_id, rights_of([]), mode) is not None
    read_only = [{"read": True, "trade": True}]
    refusal = judge(exchange_id, rights_of(read_only), mode)
    assert refusal is not None
    assert refusal.code == "NOT_TOLD"


@pytest.mark.parametrize("exchange_id", ExchangeId)
def test_a_refusal_names_the_right_and_where_to_switch_it_off(exchange_id: ExchangeId) -> None:
    for name in ("withdraw", "transfer"):
        facts = {"read": True, "trade": True, "withdraw": False, "transfer": False, name: True}
        refusal = judge(exchange_id, rights_of([facts]), ExchangeMode.PRODUCTION)
        assert refusal is not None
        assert refusal.code == f"MAY_{name.upper()}"
        assert name in refusal.message
        assert "API" in refusal.message
        assert "switch off `" in refusal.message


def test_a_sandbox_is_asked_only_what_it_can_answer() -> None:
    for dialect in (BinanceRights(), CoinbaseRights()):
        paths = [p.request.path for p in dialect.probes(ExchangeMode.SANDBOX, "an-id")]
        assert not any("withdraw" in path or "sapi" in path for path in paths)
    rights = rights_of([{"read": True, "trade": True}])
    assert judge(COINBASE, rights, ExchangeMode.SANDBOX) is None
    assert judge(BINANCE, rights, ExchangeMode.SANDBOX) is None
    assert judge(BINANCE, rights_of([{"read": True, "trade": False}]), ExchangeMode.SANDBOX)


def test_a_test_order_that_was_not_taken_proves_nothing() -> None:
    refused = says(400, {"code": -2015, "msg": "Invalid API-key, IP, or permissions."})
    assert binance_rights.read_test_order(refused) == {"trade": False}
    assert binance_rights.read_test_order(says(200, {})) == {"trade": True}
    with pytest.raises(ServiceError) as caught:
        binance_rights.read_test_order(says(400, {"code": -1013, "msg": "Filter failure"}))
    assert caught.value.code == "EXCHANGE_UNAVAILABLE"


@pytest.mark.parametrize(
    ("read", "status", "body", "facts"),
    [
        (coinbase_rights.read_accounts, 200, [], {"read": True}),
        (coinbase_rights.read_accounts, 403, {"message": "Forbidden"}, {"read": False}),
        (coinbase_rights.read_cancel, 404, {"message": "order not found"}, {"trade": True}),
        (coinbase_rights.read_cancel, 403, {"message": "Forbidden"}, {"trade": False}),
        (
            coinbase_rights.read_withdrawal,
            400,
            {"message": "amount is required"},
            {"withdraw": True, "transfer": True},
        ),
        (
            coinbase_rights.read_withdrawal,
            403,
            {"message": "Forbidden"},
            {"withdraw": False, "transfer": False},
        ),
    ],
)
def test_coinbase_tells_by_its_refusals(read: Any, status: int, body: Any, facts: Any) -> None:
    assert read(says(status, body)) == facts


@pytest.mark.parametrize(
    ("read", "status", "body"),
    [
        (coinbase_rights.read_accounts, 200, b"<html>"),
        (coinbase_rights.read_accounts, 403, b"<html>blocked</html>"),
        (coinbase_rights.read_cancel, 404, b"<html>not found</html>"),
        (coinbase_rights.read_cancel, 403, b""),
        (coinbase_rights.read_cancel, 200, ["an id"]),
        (coinbase_rights.read_withdrawal, 403, b"<html>blocked</html>"),
        (coinbase_rights.read_withdrawal, 404, {"message": "NotFound"}),
        (coinbase_rights.read_withdrawal, 200, {}),
        (coinbase_rights.read_withdrawal, 503, {"message": "down"}),
    ],
)
def test_a_gateways_answer_is_nobodys_word(read: Any, status: int, body: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        read(says(status, body))
    assert caught.value.code == "EXCHANGE_UNAVAILABLE"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with a_house(tmp_path_factory.mktemp("house")) as running:
        yield running


async def is_taken(house: House, exchange_id: ExchangeId, key: ExchangeCredentials) -> bool:
    try:
        told = await house.prober.probe(exchange_id, key)
    except ServiceError as error:  # a key that may not even look is not taken at the door
        if error.code != "CREDENTIAL_REFUSED":
            raise
        return False
    return judge(exchange_id, told, ExchangeMode.SIMULATED) is None


TAKEN = {
    BINANCE: [frozenset({"READ", "TRADE"})],
    # At Coinbase the right to trade brings that to look.
    COINBASE: [frozenset({"READ", "TRADE"}), frozenset({"TRADE"})],
}
RIGHTS = {
    BINANCE: ("READ", "TRADE", "TRANSFER", "WITHDRAW"),
    COINBASE: ("READ", "TRADE", "WITHDRAW"),
}
TABLE = [(each, some) for each in ExchangeId for some in subsets(RIGHTS[each])]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("exchange_id", "rights"), TABLE)
async def test_of_all_keys_at_a_simulated_exchange_only_the_fit_are_taken(
    house: House, exchange_id: ExchangeId, rights: frozenset[str]
) -> None:
    number = 100 + TABLE.index((exchange_id, rights))
    key = house.open_account(exchange_id, number, rights)
    assert await is_taken(house, exchange_id, key) == (rights in TAKEN[exchange_id])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("exchange_id", "words"), [(BINANCE, "true"), (COINBASE, "cannot be read")]
)
async def test_the_ip_restriction_is_told_or_said_to_be_unreadable(
    house: House, exchange_id: ExchangeId, words: str
) -> None:
    key = house.open_account(exchange_id, 53)
    assert ip_words(await house.prober.probe(exchange_id, key)) == words


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_asking_about_a_key_changes_nothing_at_the_exchange(
    house: House, exchange_id: ExchangeId
) -> None:
    key = house.open_account(exchange_id, 50)
    core = house.exchanges[exchange_id]
    account = core.key(key.api_key)
    assert account is not None
    before = core.balances(account.account_id)
    await house.prober.probe(exchange_id, key)
    assert core.balances(account.account_id) == before
    assert core.orders(account.account_id) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_key_with_anothers_secret_is_refused_with_the_reason(
    house: House, exchange_id: ExchangeId
) -> None:
    key, other = house.open_account(exchange_id, 51), a_key(exchange_id, 52)
    mixed = type(key)(api_key=key.api_key, api_secret=other.api_secret, passphrase=key.passphrase)
    with pytest.raises(ServiceError) as caught:
        await house.prober.probe(exchange_id, mixed)
    assert caught.value.code == "CREDENTIAL_REFUSED"
    assert "secret does not belong" in caught.value.message
