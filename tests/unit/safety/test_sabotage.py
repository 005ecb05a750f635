"""Two processes trade while somebody tampers with the cache: no order while a switch is active."""

import random
from pathlib import Path

import pytest

from tests.unit.safety.test_service import FailingRecords, House
from trading_platform.cache.link import Link
from trading_platform.cache.valkey import EmbeddedValkey
from trading_platform.kit.errors import ServiceError
from trading_platform.limits import keys
from trading_platform.safety.switch import PLATFORM, Scope, exchange_scope, tenant_scope
from trading_platform.storage.sqlite import SqliteRecords

TENANTS = ("t1", "t2")
SCOPES = (
    PLATFORM,
    exchange_scope("BINANCE"),
    exchange_scope("COINBASE"),
    *map(tenant_scope, TENANTS),
)
STEPS = 250


@pytest.mark.parametrize("seed", range(4))
async def test_no_order_leaves_while_a_switch_that_covers_it_is_active(
    tmp_path: Path, server: EmbeddedValkey, link: Link, seed: int
) -> None:
    draw = random.Random(seed)
    records = FailingRecords(await SqliteRecords.open(tmp_path / "records.db"))
    houses = [House(records, server.url) for _ in range(2)]
    for house in houses:
        await house.safety.load()
        assert [await house.order(tenant) for tenant in TENANTS] == ["sent", "sent"]
    active: dict[Scope, int] = {}
    mirrors: list[tuple[str, bytes]] = []
    sent = 0
    for _ in range(STEPS):
        house, scope, tenant = draw.choice(houses), draw.choice(SCOPES), draw.choice(TENANTS)
        match draw.choice(("order", "order", "order", "activate", "release", "release", "tamper")):
            case "order":
                exchange = draw.choice(("BINANCE", "COINBASE"))
                answer = await house.order(tenant, exchange)
                covering = {PLATFORM, exchange_scope(exchange), tenant_scope(tenant)}
                assert not (answer == "sent" and covering & active.keys())
                sent += answer == "sent"
            case "activate":
                state = await house.safety.activate(scope, reason=f"{draw.random()}", actor="ann")
                active[scope] = state.epoch
            case "release" if active:
                scope = draw.choice(list(active))
                epoch = active.pop(scope)
                if draw.random() < 0.2:  # with an epoch from before: must not release
                    with pytest.raises(ServiceError, match="epoch"):
                        await house.safety.release(
                            scope, epoch=epoch - 1, reason="old", actor="ann"
                        )
                    active[scope] = epoch
                else:
                    await house.safety.release(scope, epoch=epoch, reason="over", actor="ann")
            case "tamper":
                mirror = await link.call("GET", keys.mirror_key(tenant))
                if isinstance(mirror, bytes):
                    mirrors.append((tenant, mirror))
                how = draw.choice(("FLUSHALL", "old mirror", "lost permit", "forgotten scripts"))
                if how == "old mirror" and mirrors:
                    whose, old = draw.choice(mirrors)
                    await link.call("SET", keys.mirror_key(whose), old)
                elif how == "lost permit":
                    await link.call("DEL", keys.permit_key(tenant))
                elif how == "forgotten scripts":
                    await link.call("SCRIPT", "FLUSH")
                elif how == "FLUSHALL":
                    await link.call("FLUSHALL")
    assert sent > 5
    for house in houses:
        await house.close()
    await records.close()
