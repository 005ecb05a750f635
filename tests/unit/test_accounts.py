"""A tenant's account and its user stream."""

from typing import cast

import pytest

from tests.unit.exchanges.sinks import Log
from tests.unit.orders.scripted import Lines
from trading_platform.accounts import Accounts, simulated_credentials
from trading_platform.exchanges.custody import Custody
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.tasks import Supervisor
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials


class Flapping:
    """Keys that are away at one moment."""

    def __init__(self, away_at: int) -> None:
        self.left = away_at

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        self.left -= 1
        if self.left == 0:
            raise ServiceError("no keys just now", "NOT_FOUND")
        return simulated_credentials(tenant_id, exchange_id)


async def test_account_whose_stream_could_not_be_opened_gets_it_at_the_next_use() -> None:
    keys, supervisor = Flapping(away_at=2), Supervisor(Lines())
    endpoints = {ExchangeId.BINANCE: simulated(ExchangeId.BINANCE, "http://127.0.0.1:9")}
    factory = ExchangeFactory(endpoints, keys, SystemClock(), Log())
    nobody = cast(Custody, None)  # never asked here
    accounts = Accounts(factory, supervisor, keys, nobody)
    with pytest.raises(ServiceError, match="no keys"):
        await accounts.trading("tenant-1", ExchangeId.BINANCE)
    assert not supervisor._tasks
    for _ in range(2):
        await accounts.trading("tenant-1", ExchangeId.BINANCE)
    assert list(supervisor._tasks) == ["user stream BINANCE tenant-1"]
    await supervisor.close()
    await factory.close()
