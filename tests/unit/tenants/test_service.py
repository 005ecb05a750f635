"""Who is asking, on a real SQLite store."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants import keys, service
from trading_platform.tenants.model import INCLUDES, Permission, TenantStatus, Tier, expand
from trading_platform.tenants.service import TenantService
from trading_platform.tenants.store import ApiKeys, find_key

PEPPER = b"pepper".ljust(32, b".")


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[SqliteRecords]:
    store = await SqliteRecords.open(tmp_path / "records.db")
    yield store
    await store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tenants(records: SqliteRecords, clock: ManualClock) -> TenantService:
    return TenantService(records, PEPPER, clock)


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def refused(tenants: TenantService, bearer: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await tenants.authenticate(bearer)
    return caught.value


async def test_a_key_tells_whose_it_is_and_what_it_may_do(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.PRO)
    key, text = await tenants.create_api_key(
        tenant.tenant_id, name="bot", permissions=[Permission.TRADE]
    )
    caller = await tenants.authenticate(text)
    assert (caller.tenant_id, caller.tier, caller.key_id) == (
        tenant.tenant_id,
        Tier.PRO,
        key.key_id,
    )
    assert caller.may(Permission.READ)
    assert caller.may(Permission.TRADE)
    assert not caller.may(Permission.HALT)
    assert not caller.may(Permission.ADMIN)


async def test_unknown_wrong_and_revoked_keys_get_the_same_refusal(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    other = keys.new_key()
    wrong = _with_id(key.key_id)
    await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    errors = [
        await refused(tenants, bearer)
        for bearer in (other.text, wrong, text, "", "nonsense", text[:-1] + "!", "ż" * 10_000)
    ]
    assert {(error.code, error.message, str(error.metadata)) for error in errors} == {
        ("NOT_AUTHENTICATED", "The API key is missing, unknown or revoked.", "{}")
    }


async def test_a_right_id_with_a_wrong_secret_is_refused(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    assert (await tenants.authenticate(text)).key_id == key.key_id
    assert (await refused(tenants, _with_id(key.key_id))).code == "NOT_AUTHENTICATED"


async def test_another_pepper_opens_nothing(
    tenants: TenantService, records: SqliteRecords, clock: ManualClock
) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    _, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    stranger = TenantService(records, b"other".ljust(32, b"."), clock)
    assert (await refused(stranger, text)).code == "NOT_AUTHENTICATED"


async def test_the_key_itself_is_nowhere_on_disk(
    tenants: TenantService, records: SqliteRecords, tmp_path: Path
) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    await tenants.authenticate(text)
    kept = on_disk(tmp_path)
    assert key.key_id.encode() in kept
    assert text[18:50].encode() not in kept
    assert PEPPER not in kept
    assert text not in repr(await find_key(records, key.key_id))


async def test_a_revoked_key_is_refused_at_once(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    await tenants.authenticate(text)
    revoked = await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    assert revoked.revoked_at is not None
    assert (await refused(tenants, text)).code == "NOT_AUTHENTICATED"
    assert await tenants.revoke_api_key(tenant.tenant_id, key.key_id) == revoked


async def test_another_process_refuses_a_revoked_key_within_a_second(
    tenants: TenantService, records: SqliteRecords, clock: ManualClock
) -> None:
    elsewhere = TenantService(records, PEPPER, clock)
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    await elsewhere.authenticate(text)
    await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    clock.advance(1.0)
    assert (await refused(elsewhere, text)).code == "NOT_AUTHENTICATED"


async def test_a_suspended_tenant_is_refused_at_once_and_resumed(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    _, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    await tenants.authenticate(text)
    suspended = await tenants.suspend_tenant(tenant.tenant_id)
    assert suspended.status is TenantStatus.SUSPENDED
    assert (await refused(tenants, text)).code == "NOT_PERMITTED"
    with pytest.raises(ServiceError, match="suspended"):
        await tenants.create_api_key(tenant.tenant_id, name="bot")
    await tenants.resume_tenant(tenant.tenant_id)
    assert (await tenants.authenticate(text)).tenant_id == tenant.tenant_id


async def test_suspending_one_tenant_leaves_others_alone(tenants: TenantService) -> None:
    first = await tenants.create_tenant("A", Tier.FREE)
    second = await tenants.create_tenant("B", Tier.FREE)
    _, text = await tenants.create_api_key(second.tenant_id, name="bot")
    await tenants.suspend_tenant(first.tenant_id)
    assert (await tenants.authenticate(text)).tenant_id == second.tenant_id


async def test_a_repeated_key_is_answered_without_the_store(
    tenants: TenantService, records: SqliteRecords
) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    _, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    caller = await tenants.authenticate(text)
    await records.close()
    assert await tenants.authenticate(text) == caller


async def test_the_cache_stays_bounded(
    tenants: TenantService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CACHE_SIZE_MAX", 3)
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    texts = [(await tenants.create_api_key(tenant.tenant_id, name="bot"))[1] for _ in range(5)]
    for text in texts + texts:
        await tenants.authenticate(text)
    assert len(tenants._known) == 3


async def test_a_tenant_sees_and_revokes_only_its_own_keys(
    tenants: TenantService, records: SqliteRecords
) -> None:
    mine = await tenants.create_tenant("Mine", Tier.FREE)
    theirs = await tenants.create_tenant("Theirs", Tier.FREE)
    first, _ = await tenants.create_api_key(mine.tenant_id, name="first")
    second, text = await tenants.create_api_key(theirs.tenant_id, name="second")
    assert await tenants.list_api_keys(mine.tenant_id) == [first]
    for key_id in (second.key_id, "nobody", "", "x" * 5000):
        with pytest.raises(ServiceError) as caught:
            await tenants.revoke_api_key(mine.tenant_id, key_id)
        assert caught.value.code == "NOT_FOUND"
    assert (await tenants.authenticate(text)).tenant_id == theirs.tenant_id
    with pytest.raises(ValueError, match="another tenant"):
        ApiKeys(records, mine.tenant_id).adding(second, b"", tenant_version=1)


async def test_a_key_is_not_added_when_its_tenant_changed_meanwhile(
    tenants: TenantService, records: SqliteRecords
) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    key, _ = await tenants.create_api_key(tenant.tenant_id, name="bot")
    await tenants.suspend_tenant(tenant.tenant_id)
    late = msgspec.structs.replace(key, key_id="lateandnew")
    with pytest.raises(ServiceError) as caught:
        await records.transact(
            ApiKeys(records, tenant.tenant_id).adding(late, b"", tenant_version=1)
        )
    assert caught.value.code == "CONFLICT"
    assert await tenants.list_api_keys(tenant.tenant_id) == [key]


async def test_tenants_and_keys_are_listed_oldest_first_over_pages(
    tenants: TenantService, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAGE_SIZE", 2)
    made = []
    for number in range(5):
        made.append(await tenants.create_tenant(f"Tenant {number}", Tier.FREE))
        clock.advance(0.5)
    assert await tenants.list_tenants() == made
    named = []
    for number in range(5):
        named.append((await tenants.create_api_key(made[0].tenant_id, name=f"key {number}"))[0])
        clock.advance(0.5)
    assert await tenants.list_api_keys(made[0].tenant_id) == named


async def test_a_tenant_comes_back_as_it_was_created(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Zażółć & Söhne", Tier.ENTERPRISE)
    assert tenant.tenant_id.startswith("tenant-")
    assert await tenants.get_tenant(tenant.tenant_id) == tenant


@pytest.mark.parametrize("tenant_id", ["", "tenant-unknown", "x" * 5000, "\ud800", "ż"])
async def test_an_unknown_tenant_is_not_found(tenants: TenantService, tenant_id: str) -> None:
    for outcome in (
        tenants.get_tenant(tenant_id),
        tenants.list_api_keys(tenant_id),
        tenants.create_api_key(tenant_id, name="bot"),
        tenants.suspend_tenant(tenant_id),
    ):
        with pytest.raises(ServiceError) as caught:
            await outcome
        assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, "tab\t", " padded", "bell\x07"])
async def test_bad_names_are_refused_and_nothing_is_written(
    tenants: TenantService, name: str
) -> None:
    tenant = await tenants.create_tenant("x" * 100, Tier.FREE)
    with pytest.raises(ServiceError, match="printable") as caught:
        await tenants.create_tenant(name, Tier.FREE)
    assert caught.value.code == "INVALID_REQUEST"
    with pytest.raises(ServiceError, match="printable"):
        await tenants.create_api_key(tenant.tenant_id, name=name)
    assert await tenants.list_tenants() == [tenant]
    assert await tenants.list_api_keys(tenant.tenant_id) == []


async def test_a_key_without_permissions_is_refused(tenants: TenantService) -> None:
    tenant = await tenants.create_tenant("Acme", Tier.FREE)
    with pytest.raises(ServiceError, match="at least one permission"):
        await tenants.create_api_key(tenant.tenant_id, name="bot", permissions=[])


def test_a_short_pepper_is_refused(records: SqliteRecords, clock: ManualClock) -> None:
    with pytest.raises(ServiceError, match="31 bytes"):
        TenantService(records, b"x" * 31, clock)


def test_every_permission_allows_itself_and_reading() -> None:
    assert set(INCLUDES) == set(Permission)
    for permission in Permission:
        assert {permission, Permission.READ} <= expand([permission])


def test_only_admin_allows_everything() -> None:
    assert [p for p in Permission if expand([p]) == frozenset(Permission)] == [Permission.ADMIN]
    assert Permission.RELEASE not in expand([Permission.TRADE, Permission.HALT])


def _with_id(key_id: str) -> str:
    """A well-formed key with this id and another secret."""
    characters = iter(key_id + "z" * 32)
    return keys.new_key(lambda _alphabet: next(characters)).text
