"""Exchange keys over the API: what goes in, what comes out, and what never does."""

import json

import pytest

from tests.api.platform import FIT, Api, Member
from trading_platform.exchanges.rights import rights_of
from trading_platform.kit.errors import ServiceError
from trading_platform.tenants.model import Permission

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/exchanges/BINANCE/credentials"
SECRET = "an-api-secret-that-nobody-may-ever-see-again"
KEY = {"apiKey": "key-number-one", "apiSecret": SECRET}
OTHER = {"apiKey": "key-number-two", "apiSecret": SECRET + "-2"}


async def test_a_stored_key_is_shown_by_name_rights_and_times_only(
    api: Api, member: Member
) -> None:
    put = await api.call("PUT", PATH, member, KEY)
    assert put.status == 200
    got = await api.call("GET", PATH, member)
    assert got.status == 200
    assert got.body == put.body
    assert got.body["status"] == "ACTIVE"
    current = got.body["current"]
    assert current["rights"] == ["read", "trade"]
    assert current["ipRestricted"] == "true"
    assert current["validatedAt"]
    assert current["fingerprint"].startswith("key-...")
    assert SECRET not in json.dumps([put.body, got.body])
    assert KEY["apiKey"] not in json.dumps(got.body)


async def test_no_body_with_a_secret_is_logged(api: Api, member: Member) -> None:
    await api.call("PUT", PATH, member, KEY)
    await api.call("PUT", PATH, member, {**KEY, "apiSecret": SECRET + " "})
    await api.call("PUT", PATH, member, {**KEY, "unknown": SECRET})
    await api.call("PUT", PATH, member, {**KEY, "apiKey": 5})
    await api.call("POST", f"{PATH}/rotation", member, OTHER)
    assert SECRET not in api.log.getvalue()


async def test_no_refusal_quotes_the_secret(api: Api, member: Member) -> None:
    bodies = (
        {**KEY, "apiSecret": SECRET + " "},
        {**KEY, "unknown": SECRET},
        {**KEY, "apiKey": [SECRET]},
        {"apiKey": SECRET, "apiSecret": SECRET},
        {**KEY, "subAccountId": SECRET + " !"},
        {**KEY, SECRET: SECRET},
    )
    for body in bodies:
        reply = await api.call("PUT", PATH, member, body)
        assert reply.status == 400
        values = json.dumps(reply.body).replace(SECRET, "", SECRET in body)
        assert SECRET not in values


async def test_a_key_that_may_withdraw_is_422_with_the_way_out(api: Api, member: Member) -> None:
    api.exchanges.prober.answers.append(rights_of([{**FIT, "withdraw": True}]))
    reply = await api.call("PUT", PATH, member, KEY)
    assert (reply.status, reply.body["code"]) == (422, "CREDENTIAL_REFUSED")
    assert reply.body["metadata"]["reason"] == "MAY_WITHDRAW"
    assert "Enable Withdrawals" in reply.body["message"]
    assert (await api.call("GET", PATH, member)).status == 404


async def test_an_exchange_that_does_not_answer_is_503_and_nothing_is_stored(
    api: Api, member: Member
) -> None:
    api.exchanges.prober.answers.append(ServiceError("no answer", "EXCHANGE_UNAVAILABLE"))
    reply = await api.call("PUT", PATH, member, KEY)
    assert (reply.status, reply.body["retryable"]) == (503, True)
    assert (await api.call("GET", PATH, member)).status == 404


async def test_only_an_admin_changes_credentials(api: Api) -> None:
    weak = await api.member(permissions=(Permission.TRADE, Permission.RELEASE))
    for method, path in (
        ("PUT", PATH),
        ("DELETE", PATH),
        ("POST", f"{PATH}/rotation"),
        ("POST", f"{PATH}/rotation/switch"),
        ("POST", "/v1/credentials/revoke-all"),
    ):
        assert (await api.call(method, path, weak, KEY)).status == 403
    assert (await api.call("GET", PATH, weak)).status == 404  # may look, there is none


async def test_a_rotation_over_the_api(api: Api, member: Member) -> None:
    await api.call("PUT", PATH, member, KEY)
    staged = await api.call("POST", f"{PATH}/rotation", member, OTHER)
    assert staged.body["pending"]["validatedAt"] is None
    early = await api.call("POST", f"{PATH}/rotation/switch", member)
    assert (early.status, early.body["code"]) == (409, "CONFLICT")
    tested = await api.call("POST", f"{PATH}/rotation/test", member)
    assert tested.body["pending"]["rights"] == ["read", "trade"]
    switched = await api.call("POST", f"{PATH}/rotation/switch", member)
    assert switched.body["pending"] is None
    assert switched.body["current"]["fingerprint"] == staged.body["pending"]["fingerprint"]
    assert switched.body["previous"]["retireAt"]
    retired = await api.call("POST", f"{PATH}/rotation/retire", member)
    assert (retired.status, retired.body["previous"]) == (200, None)


async def test_a_deleted_key_is_404_and_may_be_stored_anew(api: Api, member: Member) -> None:
    await api.call("PUT", PATH, member, KEY)
    deleted = await api.call("DELETE", PATH, member)
    assert (deleted.status, deleted.body["status"]) == (200, "DELETED")
    assert deleted.body["shredded"] is True
    assert (await api.call("GET", PATH, member)).status == 404
    assert (await api.call("DELETE", PATH, member)).status == 404
    assert (await api.call("PUT", PATH, member, KEY)).status == 200


async def test_revoke_all_ends_every_key_of_the_tenant_and_no_other(
    api: Api, member: Member
) -> None:
    other = await api.member()
    coinbase = "/v1/exchanges/COINBASE/credentials"
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
    body = {"apiKey": "coinbase-key", "apiSecret": secret, "passphrase": "a-passphrase"}
    assert (await api.call("PUT", coinbase, member, body)).status == 200
    assert (await api.call("PUT", PATH, member, KEY)).status == 200
    assert (await api.call("PUT", PATH, other, KEY)).status == 200
    reply = await api.call("POST", "/v1/credentials/revoke-all", member, {"reason": "a theft"})
    rows = reply.body["credentials"]
    assert {(row["exchangeId"], row["status"], row["shredded"]) for row in rows} == {
        ("BINANCE", "REVOKED", True),
        ("COINBASE", "REVOKED", True),
    }
    assert (await api.call("GET", PATH, member)).body["problem"] == "revoked: a theft"
    assert (await api.call("GET", PATH, other)).body["status"] == "ACTIVE"
    again = await api.call("POST", "/v1/credentials/revoke-all", member, {"reason": "a theft"})
    assert again.body["credentials"] == []


async def test_a_suspended_key_shows_why_and_is_used_again_once_it_is_fit(
    api: Api, member: Member
) -> None:
    await api.call("PUT", PATH, member, KEY)
    api.exchanges.prober.answers.append(rights_of([{**FIT, "transfer": True}]))
    refused = await api.call("POST", f"{PATH}/validate", member)
    assert refused.status == 422
    shown = (await api.call("GET", PATH, member)).body
    assert shown["status"] == "SUSPENDED"
    assert "transfer" in shown["problem"]
    assert (await api.call("POST", f"{PATH}/validate", member)).body["status"] == "ACTIVE"


async def test_an_unknown_exchange_is_404(api: Api, member: Member) -> None:
    for name in ("KRAKEN", "binance", "BINANCE2"):
        reply = await api.call("PUT", f"/v1/exchanges/{name}/credentials", member, KEY)
        assert (reply.status, reply.body["code"]) == (404, "NOT_FOUND")
