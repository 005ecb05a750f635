"""Which accounts may take new orders, known without waiting: asked just before bytes leave."""

from trading_platform.exchanges.credential_rows import GONE, CredentialRow, CredentialStatus
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId


class Standing:
    """Which accounts have a credential, and which of these are not fit; the rows are the truth."""

    def __init__(self) -> None:
        self._known: set[tuple[str, ExchangeId]] = set()
        self._unfit: dict[tuple[str, ExchangeId], CredentialRow] = {}

    def note(self, row: CredentialRow) -> None:
        """Take the newest state of a credential."""
        self._known.add(row.account)
        if row.status in GONE or row.status is CredentialStatus.SUSPENDED:
            self._unfit[row.account] = row
        else:
            self._unfit.pop(row.account, None)

    def may_send(self, tenant_id: str, exchange_id: ExchangeId) -> None:
        """CREDENTIAL_SUSPENDED when no new order may go out with the tenant's key there."""
        row = self._unfit.get((tenant_id, exchange_id))
        if row is not None:
            raise ServiceError(
                f"the credential for {exchange_id} is {row.status}: {row.problem or 'it is gone'}",
                "CREDENTIAL_SUSPENDED",
            )

    def is_known(self, tenant_id: str, exchange_id: ExchangeId) -> bool:
        """Whether the tenant ever stored a key there."""
        return (tenant_id, exchange_id) in self._known

    def is_gone(self, tenant_id: str, exchange_id: ExchangeId) -> bool:
        """Whether the tenant had a key there that was revoked or deleted."""
        row = self._unfit.get((tenant_id, exchange_id))
        return row is not None and row.status in GONE
