"""A judge nobody here wrote: schemathesis reads our document and sends what it likes."""

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from tests.api.platform import Api, Member
from tests.api.test_prices import quote
from trading_platform.kit.errors import ServiceError
from trading_platform.limits import tiers
from trading_platform.market.instruments import ExchangeId
from trading_platform.tenants.model import Tier

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = Path(sys.executable).with_name("st")


async def keep_turning(api: Api, member: Member) -> None:
    """Prices stay fresh, and what the judge halts is released, so that it sees orders pass."""
    safety = api.services.safety
    while True:
        for exchange_id in ExchangeId:
            quote(api, exchange_id, 60_000)
        for state in await safety.status(member.tenant_id):
            if state.active:
                with contextlib.suppress(ServiceError):  # the judge changed it meanwhile
                    await safety.release(
                        state.scope, epoch=state.epoch, reason="go on", actor="test"
                    )
        await asyncio.sleep(0.05)


async def test_document_and_server_agree_whatever_is_sent(
    api: Api, member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = tiers.TierLimits(1_000_000, 1_000_000, 20)
    monkeypatch.setitem(tiers.TIERS, Tier.ENTERPRISE, wide)
    world = asyncio.create_task(keep_turning(api, member))
    judge = await asyncio.create_subprocess_exec(
        PROGRAM,
        "run",
        f"{api.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {member.key}",
        "--max-examples=6",
        "--exclude-checks=positive_data_acceptance",  # well-formed orders may break a filter
        "--seed=1",
        "--no-shrink",
        "--continue-on-failure",
        "--phases=coverage,fuzzing",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await judge.communicate()
    assert not world.done()
    world.cancel()
    assert judge.returncode == 0, output.decode()[-8000:]
    counts = api.services.metrics.text().decode()
    for operation in ("submitOrder", "listOrders", "activateKillSwitch", "listBalances"):
        assert f'operation="{operation}"' in counts
    assert 'status="5' not in counts
