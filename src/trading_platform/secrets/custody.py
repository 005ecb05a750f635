"""Tenants' exchange keys by tenant and exchange, for those who do not know paths."""

from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.manager import SecretsManager
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.stages import Stage


class ExchangeCustody:
    """Versions of tenants' keys. All but `get` and `put` may be repeated."""

    def __init__(self, manager: SecretsManager) -> None:
        self._manager = manager

    async def get(
        self, tenant_id: str, exchange_id: ExchangeId, *, stage: Stage = Stage.CURRENT
    ) -> ExchangeCredentials:
        """The version at a stage; NOT_FOUND."""
        return await self._manager.get_exchange_credentials(tenant_id, exchange_id, stage=stage)

    async def put(
        self,
        tenant_id: str,
        exchange_id: ExchangeId,
        credentials: ExchangeCredentials,
        *,
        version_id: str,
        stage: Stage,
        actor: str,
    ) -> None:
        """Keep a version under the caller's id; at CURRENT the one before becomes PREVIOUS."""
        await self._manager.put_exchange_credentials(
            tenant_id, exchange_id, credentials, actor=actor, stage=stage, version_id=version_id
        )

    async def promote(
        self, tenant_id: str, exchange_id: ExchangeId, version_id: str, *, actor: str
    ) -> None:
        """Make a version current, the one before it previous; NOT_FOUND."""
        secret_id = self._manager.secret_id(tenant_id, exchange_id)
        await self._manager.promote(secret_id, version_id, actor=actor)

    async def retire(
        self, tenant_id: str, exchange_id: ExchangeId, version_id: str, *, actor: str
    ) -> None:
        """Let go of a version."""
        secret_id = self._manager.secret_id(tenant_id, exchange_id)
        await self._manager.retire(secret_id, version_id, actor=actor)

    async def shred(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> None:
        """Let go of every version for ever."""
        await self._manager.shred(self._manager.secret_id(tenant_id, exchange_id), actor=actor)

    async def renew(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Forget what is cached, here and in every other process."""
        await self._manager.announce(self._manager.secret_id(tenant_id, exchange_id))
