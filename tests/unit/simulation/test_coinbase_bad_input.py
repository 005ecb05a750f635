"""Whatever a client sends, the simulated Coinbase answers or refuses; it never breaks."""

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulation.coinbase_desks import BTC, a_coinbase_exchange, a_liquid_book
from trading_platform.kit.clock import ManualClock
from trading_platform.simulation.coinbase_orders import OrderDesk
from trading_platform.simulation.coinbase_rest import Call, CoinbaseRest
from trading_platform.simulation.coinbase_security import ApiError
from trading_platform.simulation.coinbase_subscriptions import (
    FeedError,
    Wanted,
    read_request,
    wanted,
)
from trading_platform.simulation.gate import Answer

odd_text = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "²",
            "9" * 5000,
            "1e9",
            "NaN",
            "999999999999999999.99999999",
            "0.000000000000000001",
            "2026-01-01",
            "2026-13-01",
            "all",
            BTC,
            "\x00",
        ]
    ),
    st.text(max_size=30),
)
NAMES = (
    "limit",
    "after",
    "before",
    "status",
    "status[]",
    "product_id",
    "order_id",
    "start_date",
    "end_date",
    "sorting",
    "level",
    "granularity",
    "start",
    "end",
)
queries = st.dictionaries(st.sampled_from(NAMES), st.lists(odd_text, min_size=1, max_size=2))
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), odd_text, st.just({}))
bodies = st.dictionaries(
    st.sampled_from(
        [
            "product_id",
            "side",
            "type",
            "price",
            "size",
            "funds",
            "time_in_force",
            "post_only",
            "stp",
            "client_oid",
            "profile_id",
            "stop",
        ]
    ),
    values,
)


def a_rest() -> tuple[CoinbaseRest, Any]:
    exchange, key = a_coinbase_exchange(ManualClock())
    a_liquid_book(exchange)
    desk = OrderDesk(exchange, lambda delay_s, run: run())
    return CoinbaseRest(exchange, desk, lambda symbol: 1), key


def outcome(run: Callable[[], Answer]) -> tuple[int, object]:
    """Status and body, as the server would send them."""
    try:
        answer = run()
    except ApiError as refusal:
        return refusal.status, refusal.message
    return answer.status, answer.body


REST, KEY = a_rest()
ROUTES = REST.routes()


@given(
    route=st.sampled_from([route for route in ROUTES if route.method != "POST"]),
    path_id=st.one_of(
        odd_text, st.just(BTC), st.uuids().map(str), st.just(f"client:{uuid.uuid4()}")
    ),
    query=queries,
)
@settings(max_examples=150, deadline=None)
def test_any_query_is_answered_or_refused(
    route: Any, path_id: str, query: dict[str, list[str]]
) -> None:
    status, body = outcome(lambda: route.run(Call(path={"id": path_id}, query=query, key=KEY)))
    assert status in (200, 400, 403, 404)
    assert msgspec.json.encode(body)


@given(body=bodies)
@settings(max_examples=120, deadline=None)
def test_any_order_body_is_taken_or_refused(body: dict[str, object]) -> None:
    rest, key = a_rest()
    good = {"product_id": BTC, "side": "buy", "price": "59000", "size": "0.01"}
    raw = msgspec.json.encode(good | body)
    status, answer = outcome(lambda: rest.place(Call(body=raw, key=key)))
    if status == 200:
        assert isinstance(answer, dict)
        assert answer["status"] == "pending"
    else:
        assert status in (400, 403)
        assert answer


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_no_order(raw: bytes) -> None:
    assert outcome(lambda: REST.place(Call(body=raw, key=KEY)))[0] == 400


frames = st.one_of(
    st.binary(max_size=60),
    st.fixed_dictionaries(
        {
            "type": st.one_of(st.sampled_from(["subscribe", "unsubscribe"]), odd_text),
            "channels": st.lists(
                st.one_of(
                    st.sampled_from(["ticker", "matches", "level2", "status", "user"]),
                    odd_text,
                    st.fixed_dictionaries({"name": odd_text, "product_ids": st.lists(odd_text)}),
                    st.none(),
                ),
                max_size=3,
            ),
        },
        optional={
            "product_ids": st.lists(st.one_of(st.just(BTC), odd_text), max_size=3),
            "timestamp": values,
        },
    ).map(lambda frame: msgspec.json.encode(frame)),
)


@given(frame=frames, logged_in=st.booleans())
@settings(max_examples=120, deadline=None)
def test_any_feed_frame_is_understood_or_refused(frame: bytes, logged_in: bool) -> None:
    found: Wanted = {}
    with contextlib.suppress(FeedError):  # anything else is a failure
        found = wanted(read_request(frame), {BTC}, logged_in=logged_in)
    assert all(product == BTC for products in found.values() for product in products)
    assert logged_in or not {"level2", "full", "user"} & set(found)
