"""What the credential flow needs of custody, the audit log and open connections."""

from collections.abc import Mapping
from typing import Any, Protocol

from trading_platform.exchanges.rights import KeyRights
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.stages import Stage


class Custody(Protocol):
    """Versions of tenants' keys. All but `get` and `put` may be repeated."""

    async def get(
        self, tenant_id: str, exchange_id: ExchangeId, *, stage: Stage = Stage.CURRENT
    ) -> ExchangeCredentials:
        """The version at a stage; NOT_FOUND."""

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
        """Keep a version under an id of ours; at CURRENT the one before becomes PREVIOUS."""

    async def promote(
        self, tenant_id: str, exchange_id: ExchangeId, version_id: str, *, actor: str
    ) -> None:
        """Make a version current, the one before it previous; NOT_FOUND."""

    async def retire(
        self, tenant_id: str, exchange_id: ExchangeId, version_id: str, *, actor: str
    ) -> None:
        """Let go of a version."""

    async def shred(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> None:
        """Let go of every version for ever."""

    async def renew(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Forget what is cached, here and in every other process."""


class Probing(Protocol):
    """Asks exchanges what a key may do."""

    def mode(self, exchange_id: ExchangeId) -> ExchangeMode: ...

    async def probe(
        self, exchange_id: ExchangeId, credentials: ExchangeCredentials
    ) -> KeyRights: ...


class Audit(Protocol):
    """Where it is written down who did what, before it is done."""

    async def append(
        self,
        tenant_id: str,
        *,
        actor: str,
        action: str,
        target: str,
        details: Mapping[str, str] = ...,
    ) -> Any: ...


class Sessions(Protocol):
    """Connections that hold an opened key."""

    def renew(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Use the current key from the next request on."""

    async def end(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """Close the account's stream: its key is gone."""


class Log(Protocol):
    """Structured log lines."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...
