"""Small exchanges to trade on: one symbol, one funded account, a book with room on both sides."""

from decimal import Decimal
from typing import Any

from trading_platform.kit.clock import Clock, ManualClock
from trading_platform.market.orders import OrderType, Side
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.model import NewOrder, SimKey, SimulatedInstrument

D = Decimal
BTC = "BTC-USDT"
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
FUNDS = {"USDT": D(100_000), "BTC": D(10)}


def an_instrument(**changes: Any) -> SimulatedInstrument:
    """BTC-USDT with Binance's production rules."""
    rules: dict[str, Any] = {
        "symbol": BTC,
        "exchange_symbol": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "price_increment": D("0.01"),
        "quantity_increment": D("0.00001"),
        "price_min": D("0.01"),
        "price_max": D(1_000_000),
        "quantity_min": D("0.00001"),
        "quantity_max": D(9000),
        "market_quantity_max": D(100),
        "notional_min": D(5),
        "notional_max": D(9_000_000),
    }
    return SimulatedInstrument(**(rules | changes))


def a_binance_exchange(
    clock: Clock | None = None, **options: Any
) -> tuple[SimulatedExchange, SimKey]:
    """One exchange and the key of its only account."""
    exchange = SimulatedExchange([an_instrument()], clock=clock or ManualClock(), **options)
    return exchange, exchange.open_account(API_KEY, SECRET, balances=FUNDS)


def a_liquid_book(exchange: SimulatedExchange) -> None:
    """Five levels a side around 60,000, one BTC each, and one public trade."""
    bids = [(D(60_000) - step, D(1)) for step in range(5)]
    asks = [(D(60_001) + step, D(1)) for step in range(5)]
    exchange.set_levels(BTC, bids, asks)
    exchange.external_trade(BTC, D(60_000), D("0.5"), Side.SELL)


def a_limit(side: Side, quantity: str, price: str, **changes: Any) -> NewOrder:
    """A GTC limit order; the client id is its text unless given."""
    fields: dict[str, Any] = {
        "symbol": BTC,
        "side": side,
        "order_type": OrderType.LIMIT,
        "client_order_id": f"{side.value}-{quantity}-{price}",
        "quantity": D(quantity),
        "price": D(price),
    }
    return NewOrder(**(fields | changes))


def a_market(side: Side, **changes: Any) -> NewOrder:
    """A market order; give quantity or quote_quantity."""
    fields: dict[str, Any] = {
        "symbol": BTC,
        "side": side,
        "order_type": OrderType.MARKET,
        "client_order_id": f"{side.value}-{changes}",
    }
    return NewOrder(**(fields | changes))
