import asyncio
import json
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from tests.api.platform import ORDER, Api, Member
from trading_platform.kit.errors import CODES

pytestmark = pytest.mark.asyncio(loop_scope="module")

BAD_KEYS = {
    "none": {},
    "no scheme": {"Authorization": "tp_live_x"},
    "another scheme": {"Authorization": "Basic dXNlcjpwYXNz"},
    "empty": {"Authorization": "Bearer "},
    "nonsense": {"Authorization": "Bearer nonsense"},
    "long": {"Authorization": "Bearer " + "x" * 7000},
    "not ASCII": {"Authorization": "Bearer t\xe9"},
}


@pytest.mark.parametrize("what", BAD_KEYS)
async def test_a_wrong_or_missing_key_is_401_on_every_closed_route(api: Api, what: str) -> None:
    for method, path in (("GET", "/v1/orders"), ("POST", "/v1/orders"), ("GET", "/v1/account")):
        reply = await api.call(method, path, None, None, **BAD_KEYS[what])
        assert (reply.status, reply.body["code"]) == (401, "NOT_AUTHENTICATED")
        assert reply.headers["WWW-Authenticate"] == "Bearer"


async def test_a_right_key_with_one_letter_changed_is_401(api: Api, member: Member) -> None:
    wrong = member.key[:-1] + ("A" if member.key[-1] != "A" else "B")
    reply = await api.call("GET", "/v1/orders", Authorization=f"Bearer {wrong}")
    assert reply.status == 401


async def test_an_error_is_a_whole_problem_document(api: Api, member: Member) -> None:
    reply = await api.call("GET", "/v1/orders/none", member)
    problem = reply.body
    assert problem["type"] == "urn:trading-platform:error:NOT_FOUND"
    assert problem["status"] == reply.status == 404
    assert problem["title"] == "Not found"
    assert problem["detail"] == problem["message"]
    assert problem["help"] == CODES["NOT_FOUND"].help
    assert problem["retryable"] is False


async def test_an_unknown_path_and_a_trailing_slash_are_404_problems(
    api: Api, member: Member
) -> None:
    for path in ("/", "/v2/orders", "/v1/orders/", "/v1//orders", "/healthz/", "/%2e%2e/etc"):
        reply = await api.call("GET", path, member)
        assert (reply.status, reply.body["code"]) == (404, "NOT_FOUND"), path


async def test_a_wrong_method_is_405_with_allow(api: Api, member: Member) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE"):
        reply = await api.call(method, "/v1/orders", member)
        assert (reply.status, reply.body["code"]) == (405, "METHOD_NOT_ALLOWED")
        assert reply.headers["Allow"] == "GET, HEAD, POST"


async def test_head_answers_like_get_without_a_body(api: Api, member: Member) -> None:
    reply = await api.call("HEAD", "/v1/orders", member)
    assert (reply.status, reply.body) == (200, b"")


async def test_a_sane_correlation_id_is_kept_and_any_other_replaced(api: Api) -> None:
    kept = await api.call("GET", "/healthz", X_Correlation_Id="my-trace.0001")
    assert kept.headers["X-Correlation-Id"] == "my-trace.0001"
    for bad in ("short", "x" * 65, "has space here", "<script>alert(1)"):
        reply = await api.call("GET", "/healthz", X_Correlation_Id=bad)
        assert UUID(reply.headers["X-Correlation-Id"]).version == 4


async def test_every_answer_carries_the_security_headers(api: Api, member: Member) -> None:
    for path in ("/healthz", "/v1/orders", "/nowhere"):
        headers = (await api.call("GET", path, member)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers


async def test_each_request_is_one_log_line_with_its_tenant(api: Api, member: Member) -> None:
    await api.call("GET", "/v1/account", member, X_Correlation_Id="find-this-line")
    lines = [json.loads(line) for line in api.log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["correlationId"] == "find-this-line"]
    assert (line["service"], line["operation"], line["tenantId"]) == (
        "api",
        "getAccount",
        member.tenant_id,
    )
    assert line["duration"] > 0
    assert line["metadata"]["status"] == 200
    assert member.key not in api.log.getvalue()


async def test_a_body_above_the_bound_is_answered_before_it_is_sent(
    api: Api, member: Member
) -> None:
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {member.key}\r\nIdempotency-Key: k\r\n"
        f"Content-Length: {2**30}\r\n\r\n"
    )
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(5):
        status = await reader.readline()
    writer.close()
    assert b" 413 " in status


async def test_a_chunked_body_is_cut_off_at_the_bound(api: Api, member: Member) -> None:
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {member.key}\r\nIdempotency-Key: k\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode())
    for _ in range(70):
        writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
    async with asyncio.timeout(5):
        status = await reader.readline()
    writer.close()
    assert b" 413 " in status


async def test_a_nonsense_request_line_does_not_hurt(api: Api) -> None:
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    async with asyncio.timeout(5):
        assert b" 400 " in await reader.readline()
    writer.close()
    assert (await api.call("GET", "/healthz")).status == 200


async def test_an_unforeseen_error_says_nothing_of_its_inside(
    api: Api, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("/secret/place/of/records.sqlite")

    monkeypatch.setattr(api.services.orders, "list_orders", broken)
    reply = await api.call("GET", "/v1/orders", member, X_Correlation_Id="broken-request")
    assert (reply.status, reply.body["code"]) == (500, "INTERNAL")
    assert "secret" not in json.dumps(reply.body)
    lines = [json.loads(line) for line in api.log.getvalue().splitlines()]
    mine = [line for line in lines if line["correlationId"] == "broken-request"]
    assert any("KeyError" in line["metadata"].get("traceback", "") for line in mine)


async def test_liveness_and_readiness_need_no_key(api: Api) -> None:
    alive = await api.call("GET", "/healthz")
    assert (alive.status, alive.body) == (200, {"status": "ok", "version": "0.1.0"})
    assert (await api.call("GET", "/readyz")).body == {"ready": True, "checks": []}


async def test_unready_is_503_and_names_the_check(api: Api) -> None:
    async def broken() -> str | None:
        return "no answer from the cache"

    api.services.health.add("cache", broken)
    reply = await api.call("GET", "/readyz")
    assert reply.status == 503
    assert reply.body["checks"][0] == {
        "name": "cache",
        "ok": False,
        "required": True,
        "message": "no answer from the cache",
    }


async def test_metrics_count_requests_by_operation(api: Api, member: Member) -> None:
    await api.submit(member, **ORDER)
    text = (await api.call("GET", "/metrics")).body.decode()
    assert "trading_platform_http_request_latency_seconds_count" in text
    assert 'operation="submitOrder",status="201"' in text
