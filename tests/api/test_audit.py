"""GET /v1/audit: a tenant's own log, and nobody else's."""

import hashlib
import json

import pytest

from tests.api.platform import Api, Member
from trading_platform.tenants.model import Permission

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_was_done_stands_there_newest_first(api: Api, member: Member) -> None:
    halted = await api.call("POST", "/v1/kill-switch/activate", member, {"reason": "drill"})
    epoch = halted.body["epoch"]
    await api.call("POST", "/v1/kill-switch/release", member, {"epoch": epoch, "reason": "over"})
    reply = await api.call("GET", "/v1/audit", member)
    assert reply.status == 200
    assert [entry["action"] for entry in reply.body["entries"]] == [
        "KILL_SWITCH_RELEASED",
        "KILL_SWITCH_ACTIVATED",
        "API_KEY_CREATED",
        "TENANT_CREATED",
    ]
    assert reply.body["after"] is None
    newest = reply.body["entries"][0]
    assert newest["actor"] == halted.body["actor"]
    assert newest["details"] == {"epoch": str(epoch + 1), "reason": "over"}


async def test_a_tenant_can_check_the_chain_with_what_it_was_answered(
    api: Api, member: Member
) -> None:
    for number in range(3):
        await api.call(
            "POST", "/v1/kill-switch/activate", member, {"reason": f"drill {number} — ż"}
        )
    await api.services.safety.close()  # type: ignore[attr-defined]  # waits for the entries
    entries = (await api.call("GET", "/v1/audit", member)).body["entries"][::-1]
    assert len(entries) == 5
    previous = "0" * 64
    for entry in entries:
        claimed = entry.pop("hash")
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == claimed
        assert entry["previousHash"] == previous
        previous = claimed


async def test_pages_lead_from_the_newest_to_the_first(api: Api, member: Member) -> None:
    for number in range(5):
        await api.tenants.create_api_key(member.tenant_id, name=f"key {number}")
    seen, query = list[int](), "?limit=3"
    while query:
        page = (await api.call("GET", f"/v1/audit{query}", member)).body
        seen += [entry["sequence"] for entry in page["entries"]]
        query = f"?limit=3&after={page['after']}" if page["after"] else ""
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_another_tenants_position_opens_only_ones_own_log(api: Api, member: Member) -> None:
    owner = await api.member()
    for number in range(5):
        await api.tenants.create_api_key(owner.tenant_id, name=f"key {number}")
    cursor = (await api.call("GET", "/v1/audit?limit=2", owner)).body["after"]
    reply = await api.call("GET", f"/v1/audit?after={cursor}", member)
    assert {entry["tenantId"] for entry in reply.body["entries"]} == {member.tenant_id}


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=201", "?after=0", "?after=x", "?after=-1", "?tenantId=other"]
)
async def test_a_query_out_of_bounds_is_400(api: Api, member: Member, query: str) -> None:
    reply = await api.call("GET", f"/v1/audit{query}", member)
    assert (reply.status, reply.body["code"]) == (400, "INVALID_REQUEST")


async def test_a_trading_key_does_not_see_the_log(api: Api) -> None:
    trader = await api.member(permissions=(Permission.TRADE, Permission.HALT))
    reply = await api.call("GET", "/v1/audit", trader)
    assert (reply.status, reply.body["code"]) == (403, "NOT_PERMITTED")
