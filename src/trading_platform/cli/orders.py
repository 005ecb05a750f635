"""`trading-platform order` and `trading-platform price`: trade and look, as a tenant."""

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from trading_platform.cli.options import DEFAULT_URL, AsJson, KeyFile, Url, client
from trading_platform.cli.output import refusals, say

COLUMNS = (
    "orderId",
    "exchangeId",
    "symbol",
    "side",
    "orderType",
    "quantity",
    "price",
    "status",
    "filledQuantity",
    "averagePrice",
)
app = typer.Typer(no_args_is_help=True, help="Submit, list and cancel orders.")


@app.command()
def submit(
    exchange_id: Annotated[str, typer.Argument(help="BINANCE or COINBASE")],
    side: Annotated[str, typer.Argument(help="BUY or SELL")],
    quantity: Annotated[str, typer.Argument(help="In base, such as 0.001")],
    symbol: Annotated[str, typer.Argument(help="Such as BTC-USDT")],
    price: Annotated[str | None, typer.Option(help="Limit price; none is a MARKET order")] = None,
    time_in_force: Annotated[str, typer.Option(help="GTC, IOC or FOK")] = "GTC",
    post_only: Annotated[bool, typer.Option(help="Only rest, never take")] = False,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit one order.

    Example: trading-platform order submit BINANCE BUY 0.001 BTC-USDT --price 60000
    """
    body: dict[str, Any] = {
        "exchangeId": exchange_id.upper(),
        "symbol": symbol.upper(),
        "side": side.upper(),
        "orderType": "LIMIT" if price else "MARKET",
        "quantity": quantity,
        "timeInForce": time_in_force.upper(),
        "postOnly": post_only,
    }
    if price:
        body["price"] = price
    with refusals():
        order = client(url, api_key_file).call("POST", "/v1/orders", body, idempotency=True)
        say(order, as_json=as_json, columns=COLUMNS)


@app.command("list")
def list_orders(
    open_only: Annotated[bool, typer.Option("--open", help="Only those not closed")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List orders, newest first.

    Example: trading-platform order list --open
    """
    query = urlencode({"limit": limit} | ({"open": "true"} if open_only else {}))
    with refusals():
        page = client(url, api_key_file).call("GET", f"/v1/orders?{query}")
        say(page["orders"], as_json=as_json, columns=COLUMNS, empty="No orders.")


@app.command()
def cancel(
    order_id: Annotated[str, typer.Argument(help="The orderId that submit answered")],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel one order.

    Example: trading-platform order cancel order-01kb...
    """
    with refusals():
        order = client(url, api_key_file).call("DELETE", f"/v1/orders/{quote(order_id, safe='')}")
        say(order, as_json=as_json, columns=COLUMNS)


def price(
    symbol: Annotated[str | None, typer.Argument(help="Such as BTC-USD; none lists all")] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """The trusted price of a symbol, or of all.

    Example: trading-platform price BTC-USD
    """
    path = f"/v1/prices/{quote(symbol.upper(), safe='')}" if symbol else "/v1/prices"
    with refusals():
        answer = client(url, api_key_file).call("GET", path)
        rows = answer if symbol else answer["prices"]
        columns = ("symbol", "price", "bid", "ask", "confidence", "aggregationMethod", "timestamp")
        say(rows, as_json=as_json, columns=columns, empty="No prices yet.")
