"""The platform's own Coinbase adapter against the simulated exchange: both must mean the same."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
import pytest
import structlog

from tests.builders import an_order
from tests.unit.simulation.coinbase_desks import (
    API_KEY,
    BTC,
    ETH,
    PASSPHRASE,
    SECRET,
    a_coinbase_exchange,
    a_liquid_book,
)
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import Accepted, Found, NotFound, Rejected, Trading, Unknown
from trading_platform.kit.clock import SystemClock
from trading_platform.market.accounts import Balance
from trading_platform.market.instruments import ExchangeId, Instrument
from trading_platform.market.orders import (
    Liquidity,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.simulation.coinbase_limits import UNLIMITED
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange

D = Decimal
COINBASE = ExchangeId.COINBASE


class Keys:
    """Everybody's key at the simulated exchange."""

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        return ExchangeCredentials(
            api_key=API_KEY, api_secret=Secret(SECRET), passphrase=Secret(PASSPHRASE)
        )


class Desk(NamedTuple):
    """A running exchange, the factory that reaches it, one account and one instrument."""

    server: CoinbaseServer
    exchange: SimulatedExchange
    factory: ExchangeFactory
    account: Trading
    btc: Instrument


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    exchange, _ = a_coinbase_exchange(SystemClock())
    a_liquid_book(exchange)
    server = CoinbaseServer(exchange, clock=SystemClock(), limits=UNLIMITED, opening_delay_s=0.001)
    await server.start()
    factory = ExchangeFactory(
        {COINBASE: simulated(COINBASE, server.url)},
        Keys(),
        SystemClock(),
        structlog.get_logger(),
        call_timeout_s=1.0,
    )
    await factory.start()
    yield Desk(
        server,
        exchange,
        factory,
        await factory.trading("tenant-1", COINBASE),
        await factory.instrument(COINBASE, BTC),
    )
    await factory.close()
    await server.close()


def order(**changes: object) -> Order:
    made = an_order(
        client_order_id=str(uuid.uuid4()),
        exchange_id=COINBASE,
        symbol=BTC,
        price=D("59000.00"),
        quantity=D("0.1"),
    )
    return msgspec.structs.replace(made, **changes)


async def look_up_until(desk: Desk, sent: Order, *statuses: OrderStatus) -> OrderReport:
    for _ in range(100):
        found = await desk.account.look_up(sent, desk.btc)
        if isinstance(found, Found) and found.report.status in statuses:
            return found.report
        await asyncio.sleep(0.005)
    raise AssertionError(found)


async def test_instruments_carry_the_exchanges_rules_and_the_synthetic_mark(desk: Desk) -> None:
    found = await desk.factory.instruments(COINBASE)
    assert (found[BTC].price_increment, found[BTC].notional_min) == (D("0.01"), D(1))
    assert (found[BTC].synthetic, found[ETH].synthetic) == (False, True)


async def test_an_order_is_placed_found_and_cancelled(desk: Desk) -> None:
    sent = order()
    placed = await desk.account.place(sent, desk.btc)
    assert isinstance(placed, Accepted), placed
    report = await look_up_until(desk, sent, OrderStatus.OPEN)
    assert report.exchange_order_id == placed.report.exchange_order_id
    (listed,) = await desk.account.open_orders()
    assert listed.client_order_id == sent.client_order_id
    known = msgspec.structs.replace(sent, exchange_order_id=report.exchange_order_id)
    cancelled = await desk.account.cancel(known, desk.btc)
    assert isinstance(cancelled, Accepted), cancelled
    assert await desk.account.open_orders() == []
    assert isinstance(await desk.account.look_up(sent, desk.btc), NotFound)


async def test_a_market_order_reports_its_fills_and_fees(desk: Desk) -> None:
    sent = order(order_type=OrderType.MARKET, price=None, quantity=D("1.5"))
    await desk.account.place(sent, desk.btc)
    report = await look_up_until(desk, sent, OrderStatus.FILLED)
    assert (report.filled_quantity, report.filled_notional) == (D("1.5"), D(90_002))
    known = msgspec.structs.replace(sent, exchange_order_id=report.exchange_order_id)
    fills = sorted(await desk.account.fills(known, desk.btc), key=lambda fill: fill.price)
    assert [(f.price, f.quantity, f.fee_currency, f.liquidity) for f in fills] == [
        (D(60_001), D(1), "USD", Liquidity.TAKER),
        (D(60_002), D("0.5"), "USD", Liquidity.TAKER),
    ]
    assert sum(f.fee for f in fills) == D("540.012")
    held = {balance.currency: balance for balance in await desk.account.balances()}
    assert held["BTC"].free == D("3.5")
    assert held["USD"].free == D("100000") - D("90002") - D("540.012")


async def test_an_ioc_that_finds_nothing_leaves_nothing(desk: Desk) -> None:
    sent = order(time_in_force=TimeInForce.IOC)
    assert isinstance(await desk.account.place(sent, desk.btc), Accepted)
    await asyncio.sleep(0.05)
    assert isinstance(await desk.account.look_up(sent, desk.btc), NotFound)
    assert await desk.account.open_orders() == []


async def test_what_the_exchange_refuses_is_rejected_and_what_is_lost_is_unknown(
    desk: Desk,
) -> None:
    refused = await desk.account.place(order(quantity=D(10)), desk.btc)
    assert isinstance(refused, Rejected)
    assert refused.message == "Insufficient funds"
    sent = order()
    desk.server.gate.drop_next_answer_after_execution(operation="POST /orders")
    assert isinstance(await desk.account.place(sent, desk.btc), Unknown)
    await look_up_until(desk, sent, OrderStatus.OPEN)
    desk.server.gate.refuse_before_execution(503, operation="POST /orders")
    assert isinstance(await desk.account.place(order(), desk.btc), Unknown)


class Sink:
    """Keeps what the streams say."""

    def __init__(self) -> None:
        self.reports: list[OrderReport] = []
        self.quotes: list[tuple[str, float, float]] = []
        self.trades: list[tuple[float, float, bool]] = []
        self.heartbeats = 0
        self.told = asyncio.Event()

    def on_order_report(self, report: OrderReport) -> None:
        self.reports.append(report)
        self.told.set()

    def on_balances(self, balances: Sequence[Balance]) -> None: ...

    def on_gap(self, reason: str) -> None: ...

    def on_quote(
        self, symbol: str, bid: float, bid_size: float, ask: float, ask_size: float, at_ns: int
    ) -> None:
        self.quotes.append((symbol, bid, ask))
        self.told.set()

    def on_trade(
        self,
        symbol: str,
        price: float,
        quantity: float,
        taker_is_buyer: bool,
        trade_id: int,
        at_ns: int,
    ) -> None:
        self.trades.append((price, quantity, taker_is_buyer))
        self.told.set()

    def on_heartbeat(self, symbol: str, at_ns: int) -> None:
        self.heartbeats += 1
        self.told.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not enough():
                self.told.clear()
                await self.told.wait()


async def test_the_user_stream_tells_the_whole_life_of_an_order(desk: Desk) -> None:
    sink = Sink()
    stream = await desk.factory.user_stream("tenant-1", COINBASE, sink)
    running = asyncio.create_task(stream.run())
    try:
        # Nothing says when the login has gone through: send until one is heard of.
        for _ in range(100):
            await desk.account.place(order(price=D(58_000), quantity=D("0.001")), desk.btc)
            await asyncio.sleep(0.02)
            if sink.reports:
                break
        sent = order(price=D("60001.00"), quantity=D("1.5"))
        await desk.account.place(sent, desk.btc)

        def reports() -> list[OrderReport]:
            return [r for r in sink.reports if r.client_order_id == sent.client_order_id]

        await sink.until(lambda: any(r.filled_quantity == 1 for r in reports()))
        desk.exchange.external_trade(BTC, D(60_000), D("0.5"), Side.SELL)
        await sink.until(lambda: any(r.status is OrderStatus.FILLED for r in reports()))
        final = reports()[-1]
        assert (final.filled_quantity, final.filled_notional) == (D("1.5"), D("90001.5"))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_market_stream_tells_quotes_trades_and_heartbeats(desk: Desk) -> None:
    sink = Sink()
    stream = desk.factory.market_stream(COINBASE, [BTC], sink)
    running = asyncio.create_task(stream.run())
    try:
        await sink.until(lambda: (BTC, 60_000.0, 60_001.0) in sink.quotes)
        desk.exchange.external_trade(BTC, D(60_001), D("0.25"), Side.BUY)
        desk.exchange.external_trade(BTC, D(60_000), D("0.125"), Side.SELL)
        await sink.until(lambda: (60_000.0, 0.125, False) in sink.trades)
        assert (60_001.0, 0.25, True) in sink.trades
        await sink.until(lambda: sink.heartbeats > 0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
