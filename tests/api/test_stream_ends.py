"""Connections that must not last: strangers, lost keys, a cache that stays away."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.platform import Api, Member, running_api
from tests.api.test_stream import stream
from trading_platform.kit.errors import ServiceError

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """An API that looks again at its connections every 20 ms."""
    folder = tmp_path_factory.mktemp("api")
    async with running_api(folder, sign_in_s=0.1, recheck_s=0.02, unsure_s_max=0.06) as running:
        yield running


async def test_a_stranger_that_says_nothing_is_let_go(api: Api) -> None:
    async with stream(api, None) as reader:
        assert "No sign-in came" in (await reader.next("error"))["problem"]["message"]
        assert await reader.closed() == 4401


async def test_a_suspended_tenants_connection_ends(api: Api, member: Member) -> None:
    async with stream(api, member) as reader:
        await reader.next("welcome")
        await api.tenants.suspend_tenant(member.tenant_id)
        assert (await reader.next("error"))["problem"]["code"] == "NOT_PERMITTED"
        assert await reader.closed() == 4403


async def test_a_revoked_keys_connection_ends(api: Api, member: Member) -> None:
    (key,) = await api.tenants.list_api_keys(member.tenant_id)
    async with stream(api, member) as reader:
        await reader.next("welcome")
        await api.tenants.revoke_api_key(member.tenant_id, key.key_id)
        assert (await reader.next("error"))["problem"]["code"] == "NOT_AUTHENTICATED"


async def test_a_cache_away_for_a_moment_is_borne_and_for_long_is_not(
    api: Api, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = 0
    renew = api.services.limiter.renew_connection

    async def flicker(*arguments: object) -> None:
        nonlocal times
        times += 1
        if times == 1 or times > 3:
            raise ServiceError("The cache does not answer.", "PROVIDER_UNAVAILABLE")
        await renew(*arguments)  # type: ignore[arg-type]  # passed on as they came

    async with stream(api, member) as reader:
        await reader.next("welcome")
        monkeypatch.setattr(api.services.limiter, "renew_connection", flicker)
        assert (await reader.next("error"))["problem"]["code"] == "PROVIDER_UNAVAILABLE"
        assert await reader.closed() == 1011
    assert times == 6


async def test_an_unforeseen_error_closes_and_is_logged(
    api: Api, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr(api.services.orders, "list_orders", broken)
    async with stream(api, member) as reader:
        await reader.ask(type="subscribe", channel="orders")
        assert await reader.closed() == 1011
    assert "KeyError" in api.log.getvalue()
