"""The simulated Coinbase Exchange over real sockets: REST."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from tests.unit.simulation.coinbase_desks import (
    API_KEY,
    BTC,
    ETH,
    PASSPHRASE,
    SECRET,
    Client,
    Reply,
    a_coinbase_exchange,
    a_liquid_book,
)
from trading_platform.kit.clock import SystemClock
from trading_platform.market.orders import Side
from trading_platform.simulation.coinbase_limits import UNLIMITED, Limits
from trading_platform.simulation.coinbase_server import CoinbaseServer
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.journal import Journal
from trading_platform.simulation.model import SimKey

D = Decimal


class Desk(NamedTuple):
    """A running server, its exchange, and a client of it."""

    server: CoinbaseServer
    exchange: SimulatedExchange
    client: Client
    key: SimKey


Serve = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    running: list[CoinbaseServer] = []
    async with aiohttp.ClientSession() as http:

        async def start(
            limits: Limits = UNLIMITED,
            opening_delay_s: float = 0.001,
            journal: Journal | None = None,
        ) -> Desk:
            exchange, key = a_coinbase_exchange(SystemClock(), journal=journal)
            a_liquid_book(exchange)
            server = CoinbaseServer(
                exchange, clock=SystemClock(), limits=limits, opening_delay_s=opening_delay_s
            )
            await server.start()
            running.append(server)
            return Desk(server, exchange, Client(http, server.url), key)

        yield start
        for server in running:
            await server.close()


@pytest.fixture
async def desk(serve: Serve) -> Desk:
    return await serve()


def limit(**changes: object) -> dict[str, object]:
    return {
        "product_id": BTC,
        "side": "buy",
        "type": "limit",
        "price": "59000.00",
        "size": "0.1",
    } | changes


async def placed(desk: Desk, **changes: object) -> str:
    reply = await desk.client.signed("POST", "/orders", limit(**changes))
    assert reply.status == 200, reply
    return str(reply.row()["id"])


async def settled_order(desk: Desk, reference: str) -> dict[str, object]:
    """The order once the engine has it."""
    for _ in range(200):
        reply = await desk.client.signed("GET", f"/orders/{reference}")
        if reply.status != 200 or reply.row()["status"] != "pending":
            break
        await asyncio.sleep(0.002)
    assert reply.status == 200, reply
    return reply.row()


def refused(reply: Reply) -> tuple[int, object]:
    return reply.status, reply.row()["message"]


async def test_products_carry_their_increments_and_say_what_is_invented(desk: Desk) -> None:
    rows = {row["id"]: row for row in (await desk.client.get("/products")).rows()}
    assert rows[BTC]["quote_increment"] == "0.01"
    assert rows[BTC]["base_increment"] == "0.00000001"
    assert rows[BTC]["min_market_funds"] == "1"
    assert rows[BTC]["status_message"] == ""
    assert rows[ETH]["status_message"] == "synthetic"
    assert (await desk.client.get(f"/products/{BTC}")).row() == rows[BTC]
    assert refused(await desk.client.get("/products/FOO-BAR")) == (404, "NotFound")
    assert refused(await desk.client.get("/nothing/here")) == (404, "NotFound")


async def test_public_market_data(desk: Desk) -> None:
    get = desk.client.get
    best = (await get(f"/products/{BTC}/book")).row()
    assert (best["bids"], best["asks"]) == ([["60000", "1", 1]], [["60001", "1", 1]])
    whole = (await get(f"/products/{BTC}/book?level=2")).row()
    assert isinstance(whole["bids"], list)
    assert len(whole["bids"]) == 5
    (trade,) = (await get(f"/products/{BTC}/trades")).rows()
    assert (trade["side"], trade["price"], trade["size"]) == ("buy", "60000.00000000", "0.50000000")
    ticker = (await get(f"/products/{BTC}/ticker")).row()
    assert (ticker["bid"], ticker["ask"], ticker["price"]) == ("60000", "60001", "60000")
    candles = (await get(f"/products/{BTC}/candles?granularity=60")).body
    assert isinstance(candles, list)
    assert candles[0][0] % 60 == 0
    assert candles[0][1:] == [60000, 60000, 60000, 60000, 0.5]
    assert (await get(f"/products/{BTC}/stats")).row()["last"] == "60000"
    assert (await get("/time")).row()["iso"]
    assert refused(await get(f"/products/{BTC}/book?level=4")) == (400, "Invalid level")
    assert (await get(f"/products/{BTC}/candles?granularity=61")).status == 400


async def test_an_order_is_pending_first_and_opens_a_moment_later(serve: Serve) -> None:
    desk = await serve(opening_delay_s=0.05)
    oid = str(uuid.uuid4())
    first = (await desk.client.signed("POST", "/orders", limit(client_oid=oid))).row()
    assert (first["status"], first["stp"], first["time_in_force"]) == ("pending", "dc", "GTC")
    assert "client_oid" not in first
    assert "profile_id" not in first
    soon = (await desk.client.signed("GET", f"/orders/client:{oid}")).row()
    assert (soon["id"], soon["status"]) == (first["id"], "pending")
    assert "stp" not in soon
    later = await settled_order(desk, f"client:{oid}")
    assert (later["id"], later["status"], later["client_oid"]) == (first["id"], "open", oid)
    assert str(later["created_at"]) > str(first["created_at"])
    assert later["profile_id"]


async def test_a_cancelled_order_without_fills_is_forgotten(desk: Desk) -> None:
    oid = str(uuid.uuid4())
    order_id = await placed(desk, client_oid=oid)
    await settled_order(desk, order_id)
    gone = await desk.client.signed("DELETE", f"/orders/{order_id}?product_id={BTC}", b'{"x":1}')
    assert (gone.status, gone.body) == (200, order_id)
    for reference in (order_id, f"client:{oid}"):
        assert refused(await desk.client.signed("GET", f"/orders/{reference}")) == (404, "NotFound")
    assert (await desk.client.signed("GET", "/orders?status=all")).body == []
    again = await desk.client.signed("DELETE", f"/orders/{order_id}")
    assert refused(again) == (404, "NotFound")
    assert desk.exchange.ledger.balance(desk.key.account_id, "USD").locked == 0


async def test_a_cancel_reaches_an_order_that_is_still_pending(serve: Serve) -> None:
    desk = await serve(opening_delay_s=0.2)
    order_id = await placed(desk)
    gone = await desk.client.signed("DELETE", f"/orders/{order_id}")
    assert gone.body == order_id
    assert desk.exchange.open_orders(desk.key.account_id) == []


async def test_a_market_order_is_done_and_cannot_be_cancelled(desk: Desk) -> None:
    order_id = await placed(desk, type="market", price=None, size="1.5")
    order = await settled_order(desk, order_id)
    assert (order["status"], order["done_reason"], order["settled"]) == ("done", "filled", True)
    assert order["filled_size"] == "1.50000000"
    assert order["executed_value"] == "90002.0000000000000000"
    assert order["fill_fees"] == "540.0120000000000000"
    assert "price" not in order
    assert "time_in_force" not in order
    refusal = await desk.client.signed("DELETE", f"/orders/{order_id}")
    assert refused(refusal) == (400, "Order already done")


async def test_a_market_order_by_funds_spends_them_fee_included(desk: Desk) -> None:
    order_id = await placed(desk, type="market", price=None, size=None, funds="603.61")
    order = await settled_order(desk, order_id)
    spent = D(str(order["executed_value"])) + D(str(order["fill_fees"]))
    assert D("603.60") < spent <= D("603.61")
    assert str(order["specified_funds"]).startswith("603.61")


async def test_fills_name_order_fee_and_liquidity(desk: Desk) -> None:
    order_id = await placed(desk, price="60002.00", size="1.5")
    await settled_order(desk, order_id)
    rows = (await desk.client.signed("GET", f"/fills?order_id={order_id}")).rows()
    assert [(r["price"], r["size"], r["liquidity"]) for r in rows] == [
        ("60002.00000000", "0.50000000", "T"),
        ("60001.00000000", "1.00000000", "T"),
    ]
    assert rows[1]["fee"] == "360.0060000000000000"
    assert {r["order_id"] for r in rows} == {order_id}
    other = (await desk.client.signed("GET", f"/fills?product_id={ETH}")).rows()
    assert other == []
    assert (await desk.client.signed("GET", "/fills")).status == 400
    assert (await desk.client.signed("GET", f"/fills?order_id={uuid.uuid4()}")).body == []


async def test_fills_are_paged_by_trade_id(desk: Desk) -> None:
    await settled_order(desk, await placed(desk, side="sell", price="59990.00", size="2"))
    whole = (await desk.client.signed("GET", f"/fills?product_id={BTC}")).rows()
    seen, path = [], f"/fills?product_id={BTC}&limit=1"
    reply = await desk.client.signed("GET", path)
    while True:
        seen += reply.rows()
        assert reply.headers["CB-BEFORE"] == str(reply.rows()[0]["trade_id"])
        if "CB-AFTER" not in reply.headers:
            break
        reply = await desk.client.signed("GET", f"{path}&after={reply.headers['CB-AFTER']}")
    assert len(whole) == 2
    assert seen == whole


async def test_orders_are_listed_by_status_and_paged_by_their_time(desk: Desk) -> None:
    ids = []
    for price in ("59001", "59002", "59003"):
        ids.append(await placed(desk, price=price))
        await settled_order(desk, ids[-1])
    done_id = await placed(desk, type="market", price=None, size="0.1")
    await settled_order(desk, done_id)

    async def listed(query: str) -> list[object]:
        return [row["id"] for row in (await desk.client.signed("GET", f"/orders{query}")).rows()]

    assert await listed("") == ids[::-1]
    assert await listed("?status=done") == [done_id]
    assert await listed("?status=open&status=done") == [done_id, *ids[::-1]]
    assert await listed("?status%5B%5D=open") == ids[::-1]
    assert await listed("?status=all&product_id=ETH-USD") == []
    page = await desk.client.signed("GET", "/orders?limit=2")
    assert [row["id"] for row in page.rows()] == [ids[2], ids[1]]
    after = page.headers["CB-AFTER"]
    assert after == page.rows()[-1]["created_at"]
    assert await listed(f"?limit=2&after={after}") == [ids[0]]


async def test_cancel_all_takes_one_product_or_everything(desk: Desk) -> None:
    order_id = await placed(desk)
    assert (await desk.client.signed("DELETE", "/orders?product_id=ETH-USD")).body == []
    unknown = await desk.client.signed("DELETE", "/orders?product_id=FOO-BAR")
    assert refused(unknown) == (404, "ProductNotFound")
    assert (await desk.client.signed("DELETE", "/orders")).body == [order_id]
    assert (await desk.client.signed("DELETE", "/orders")).body == []


async def test_balances_lock_what_open_orders_may_cost_with_its_fee(desk: Desk) -> None:
    await settled_order(desk, await placed(desk))
    rows = {r["currency"]: r for r in (await desk.client.signed("GET", "/accounts")).rows()}
    assert rows["USD"]["hold"] == "5935.4000000000000000"  # 59,000 x 0.1 x 1.006
    assert rows["USD"]["balance"] == "100000.0000000000000000"
    assert rows["USD"]["available"] == "94064.6"
    assert rows["DOGE"]["balance"] == "0.0000000000000000"
    one = await desk.client.signed("GET", f"/accounts/{rows['USD']['id']}")
    assert one.row() == rows["USD"]


async def test_money_that_pending_orders_will_need_is_not_there_twice(serve: Serve) -> None:
    desk = await serve(opening_delay_s=0.2)
    await placed(desk, size="1")
    second = await desk.client.signed("POST", "/orders", limit(size="1"))
    assert refused(second) == (400, "Insufficient funds")
    sale = await desk.client.signed(
        "POST", "/orders", limit(side="sell", price="61000", size="2.1")
    )
    assert refused(sale) == (400, "Insufficient funds")


async def test_a_post_only_order_that_would_take_is_rejected_by_the_engine(desk: Desk) -> None:
    order = await settled_order(desk, await placed(desk, price="60001.00", post_only=True))
    assert (order["status"], order["reject_reason"]) == ("rejected", "post only")
    assert desk.exchange.trades(desk.key.account_id) == []
    assert (await desk.client.signed("GET", "/orders")).body == []


async def test_a_second_order_with_the_same_client_oid_is_taken(desk: Desk) -> None:
    oid = str(uuid.uuid4())
    first, second = await placed(desk, client_oid=oid), await placed(desk, client_oid=oid)
    assert first != second
    await settled_order(desk, second)
    assert (await settled_order(desk, f"client:{oid}"))["id"] == second
    assert len(desk.exchange.open_orders(desk.key.account_id)) == 2


@pytest.mark.parametrize("reference", ["not-an-id", "client:not-a-uuid", "order:1"])
async def test_a_malformed_reference_is_a_bad_request(desk: Desk, reference: str) -> None:
    reply = await desk.client.signed("GET", f"/orders/{reference}")
    assert refused(reply) == (400, "Invalid order id")


async def test_another_account_sees_nothing_of_it(desk: Desk) -> None:
    oid = str(uuid.uuid4())
    order_id = await placed(desk, client_oid=oid)
    await settled_order(desk, order_id)
    desk.exchange.open_account("other", SECRET, PASSPHRASE, {"USD": D(10)})
    for reference in (order_id, f"client:{oid}"):
        for method in ("GET", "DELETE"):
            reply = await desk.client.signed(method, f"/orders/{reference}", api_key="other")
            assert refused(reply) == (404, "NotFound")
    assert (await desk.client.signed("GET", "/orders?status=all", api_key="other")).body == []
    fills = await desk.client.signed("GET", f"/fills?order_id={order_id}", api_key="other")
    assert fills.body == []
    assert len(desk.exchange.open_orders(desk.key.account_id)) == 1


async def test_keys_may_do_only_what_they_are_for(desk: Desk) -> None:
    def key(name: str, *permissions: str) -> None:
        desk.exchange.add_key(
            SimKey(
                api_key=name,
                account_id=desk.key.account_id,
                secret=SECRET,
                passphrase=PASSPHRASE,
                permissions=frozenset(permissions),
            )
        )

    key("view", "READ")
    key("trade", "TRADE")
    key("transfer", "READ", "WITHDRAW")
    signed = desk.client.signed
    fresh = f"/orders/client:{uuid.uuid4()}"
    assert (await signed("GET", "/accounts", api_key="view")).status == 200
    assert refused(await signed("DELETE", fresh, api_key="view")) == (403, "Forbidden")
    assert refused(await signed("POST", "/orders", limit(), api_key="view")) == (403, "Forbidden")
    assert refused(await signed("DELETE", fresh, api_key="trade")) == (404, "NotFound")
    withdrawal = "/withdrawals/crypto"
    assert refused(await signed("POST", withdrawal, {}, api_key="trade")) == (403, "Forbidden")
    assert (await signed("POST", withdrawal, {}, api_key="transfer")).status == 400
    assert refused(await desk.client.get("/accounts")) == (
        401,
        "CB-ACCESS-KEY header is required",
    )


async def test_buckets_run_dry_and_a_refused_order_was_not_executed(serve: Serve) -> None:
    desk = await serve(limits=Limits())
    answers = await asyncio.gather(*(desk.client.get("/time") for _ in range(60)))
    assert {answer.status for answer in answers} == {200, 429}
    too_many = next(answer for answer in answers if answer.status == 429)
    assert refused(too_many) == (429, "Public rate limit exceeded")
    submits = (desk.client.signed("POST", "/orders", limit(size="0.001")) for _ in range(90))
    orders = await asyncio.gather(*submits)
    taken = [reply for reply in orders if reply.status == 200]
    too_many = next(reply for reply in orders if reply.status == 429)
    assert refused(too_many) == (429, "Private rate limit exceeded")
    await settled_order_count(desk, len(taken))
    assert 30 <= len(taken) < 90


async def settled_order_count(desk: Desk, expected: int) -> None:
    for _ in range(100):
        if len(desk.exchange.open_orders(desk.key.account_id)) == expected:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(desk.exchange.open_orders(desk.key.account_id))


async def test_a_resting_order_fills_as_maker_when_the_market_trades_through_it(desk: Desk) -> None:
    order_id = await placed(desk, price="59500.00", size="1")
    await settled_order(desk, order_id)
    desk.exchange.external_trade(BTC, D("59499"), D("0.4"), Side.SELL)
    part = await settled_order(desk, order_id)
    assert (part["status"], part["filled_size"]) == ("open", "0.40000000")
    gone = await desk.client.signed("DELETE", f"/orders/{order_id}")
    assert gone.status == 200
    kept = await settled_order(desk, order_id)  # it has fills: it is not purged
    assert (kept["status"], kept["done_reason"]) == ("done", "canceled")
    (fill,) = (await desk.client.signed("GET", f"/fills?order_id={order_id}")).rows()
    assert (fill["liquidity"], fill["price"]) == ("M", "59500.00000000")


async def test_a_lost_answer_leaves_an_order_that_can_be_found(desk: Desk) -> None:
    oid = str(uuid.uuid4())
    desk.server.gate.drop_next_answer_after_execution(operation="POST /orders")
    with pytest.raises(aiohttp.ClientError):
        await desk.client.signed("POST", "/orders", limit(client_oid=oid))
    assert (await settled_order(desk, f"client:{oid}"))["status"] == "open"


async def test_a_refusal_at_the_edge_leaves_none(desk: Desk) -> None:
    desk.server.gate.refuse_before_execution(502, "<html>502</html>", operation="POST /orders")
    reply = await desk.client.signed("POST", "/orders", limit())
    assert (reply.status, reply.body) == (502, "<html>502</html>")
    assert (await desk.client.signed("GET", "/orders")).body == []


async def test_ids_survive_a_restart_with_the_journal(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "coinbase.jsonl"
    oid = str(uuid.uuid4())
    desk = await serve(journal=Journal(path))
    order_id = await placed(desk, client_oid=oid)
    before = await settled_order(desk, order_id)
    desk = await serve(journal=Journal(path))
    for reference in (order_id, f"client:{oid}"):
        assert (await desk.client.signed("GET", f"/orders/{reference}")).row() == before
    assert (await desk.client.signed("DELETE", f"/orders/client:{oid}")).body == order_id


async def test_a_body_too_large_and_a_wrong_key_are_refused(desk: Desk) -> None:
    large = await desk.client.signed("POST", "/orders", b" " * 300_000)
    assert large.status == 413
    wrong = await desk.client.signed("GET", "/accounts", passphrase="wrong")
    assert refused(wrong) == (401, "Invalid Passphrase")
    unknown = await desk.client.signed("GET", "/accounts", api_key=API_KEY[::-1])
    assert refused(unknown) == (401, "Invalid API Key")
