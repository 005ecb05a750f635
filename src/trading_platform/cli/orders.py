"""`trading-platform order` and `trading-platform price`: trade and look, as a tenant."""

from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import typer
from typer.core import TyperCommand

from trading_platform.cli.options import DEFAULT_URL, AsJson, KeyFile, Url, client, group
from trading_platform.cli.output import refusals, say

Exchange = Literal["BINANCE", "COINBASE"]
Side = Literal["BUY", "SELL"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
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
app = group("Submit, list and cancel orders.")


class _Unsigned(TyperCommand):
    """Says what is wrong with -1, which would else be taken for an unknown option."""

    def parse_args(  # type: ignore[override]  # the base's type of ctx is private to typer
        self, ctx: typer.Context, args: list[str]
    ) -> list[str]:
        for word in args:
            if word[:1] == "-" and word[1:2].isdigit():
                raise typer.BadParameter(f"{word} has a sign; quantity and price are above zero.")
        return super().parse_args(ctx, args)


@app.command(cls=_Unsigned)
def submit(
    exchange: Annotated[
        Exchange,
        typer.Argument(metavar="EXCHANGE", help="BINANCE or COINBASE", case_sensitive=False),
    ],
    side: Annotated[Side, typer.Argument(metavar="SIDE", help="BUY or SELL", case_sensitive=False)],
    quantity: Annotated[str, typer.Argument(metavar="QUANTITY", help="In base, such as 0.001")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTC-USDT")],
    price: Annotated[str | None, typer.Option(help="Limit price; none is a MARKET order")] = None,
    time_in_force: Annotated[TimeInForce, typer.Option(case_sensitive=False)] = "GTC",
    post_only: Annotated[bool, typer.Option("--post-only", help="Only rest, never take")] = False,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit one order.

    \b
    Example:
      trading-platform order submit BINANCE BUY 0.001 BTC-USDT --price 60000
    """
    body: dict[str, Any] = {
        "exchangeId": exchange,
        "symbol": symbol.upper(),
        "side": side,
        "orderType": "MARKET" if price is None else "LIMIT",
        "quantity": quantity,
        "timeInForce": time_in_force,
        "postOnly": post_only,
    }
    # An empty price is a script's mistake and must be refused, never become a MARKET order.
    if price is not None:
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

    \b
    Example:
      trading-platform order list --open
    """
    query = urlencode({"limit": limit} | ({"open": "true"} if open_only else {}))
    with refusals():
        page = client(url, api_key_file).call("GET", f"/v1/orders?{query}")
        say(page["orders"], as_json=as_json, columns=COLUMNS, empty="No orders.")


@app.command()
def cancel(
    order_id: Annotated[
        str, typer.Argument(metavar="ORDER_ID", help="The orderId that submit answered")
    ],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel one order.

    \b
    Example:
      trading-platform order cancel order-01kb...
    """
    if not order_id.strip():
        raise typer.BadParameter("ORDER_ID is empty; `trading-platform order list` shows the ids.")
    with refusals():
        order = client(url, api_key_file).call("DELETE", f"/v1/orders/{quote(order_id, safe='')}")
        say(order, as_json=as_json, columns=COLUMNS)


def price(
    symbol: Annotated[
        str | None, typer.Argument(metavar="[SYMBOL]", help="Such as BTC-USD; none lists all")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """The trusted price of a symbol, or of all.

    \b
    Example:
      trading-platform price BTC-USD
    """
    path = f"/v1/prices/{quote(symbol.upper(), safe='')}" if symbol else "/v1/prices"
    with refusals():
        answer = client(url, api_key_file).call("GET", path)
        rows = answer if symbol else answer["prices"]
        columns = ("symbol", "price", "bid", "ask", "confidence", "aggregationMethod", "timestamp")
        say(rows, as_json=as_json, columns=columns, empty="No prices yet.")
