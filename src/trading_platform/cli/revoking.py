"""What `credentials revoke-all --platform` does with the records of this machine."""

import asyncio
import getpass
from pathlib import Path
from typing import Any

from trading_platform.observability.logs import create_log
from trading_platform.opening import open_credentials
from trading_platform.settings import default_data_folder


def revoke_platform(data: Path | None, reason: str) -> list[dict[str, Any]]:
    """Every key of every tenant, revoked; a row for each."""

    async def run() -> list[dict[str, Any]]:
        log = create_log("trading-platform", level="WARNING")
        async with open_credentials(data or default_data_folder(), log) as credentials:
            actor = f"operator:{getpass.getuser()}"
            rows = await credentials.revoke_all(None, actor=actor, reason=reason)
        return [
            {
                "tenantId": row.tenant_id,
                "exchangeId": row.exchange_id.value,
                "status": row.status.value,
                "shredded": row.shredded,
            }
            for row in rows
        ]

    return asyncio.run(run())
