"""Tenants and their keys work the same on every store of records."""

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import Records
from trading_platform.tenants.model import Permission, TenantStatus, Tier
from trading_platform.tenants.service import TenantService

pytestmark = pytest.mark.asyncio(loop_scope="session")

PEPPER = bytes(range(32))


async def test_a_tenant_lives_through_creation_keys_suspension_and_revocation(
    records: Records, clock: ManualClock
) -> None:
    tenants = TenantService(records, PEPPER, clock)
    tenant = await tenants.create_tenant("Acme", Tier.PRO)
    clock.advance(1)
    other = await tenants.create_tenant("Other", Tier.FREE)
    assert [listed for listed in await tenants.list_tenants() if listed in (tenant, other)] == [
        tenant,
        other,
    ]
    key, text = await tenants.create_api_key(tenant.tenant_id, name="bot")
    clock.advance(1)
    second, _ = await tenants.create_api_key(
        tenant.tenant_id, name="second", permissions=[Permission.ADMIN]
    )
    assert await tenants.list_api_keys(tenant.tenant_id) == [key, second]
    assert await tenants.list_api_keys(other.tenant_id) == []
    assert (await tenants.authenticate(text)).tenant_id == tenant.tenant_id
    assert (await tenants.suspend_tenant(tenant.tenant_id)).status is TenantStatus.SUSPENDED
    with pytest.raises(ServiceError, match="suspended"):
        await tenants.authenticate(text)
    await tenants.resume_tenant(tenant.tenant_id)
    revoked = await tenants.revoke_api_key(tenant.tenant_id, key.key_id)
    assert await tenants.list_api_keys(tenant.tenant_id) == [revoked, second]
    with pytest.raises(ServiceError, match="revoked"):
        await tenants.authenticate(text)
