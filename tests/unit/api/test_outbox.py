import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trading_platform.api.outbox import NOTES_MAX, ORDERS_A_FRAME, ORDERS_MAX, Outbox


def taken(outbox: Outbox) -> list[Any]:
    frame: list[Any] = json.loads(outbox.take())
    return frame


def test_one_frame_joins_all_that_waits_notes_first() -> None:
    outbox = Outbox()
    outbox.price("BTC-USD", b'"price"')
    outbox.order("order-1", b'"order"')
    outbox.note(b'"reply"')
    assert outbox.ready.is_set()
    assert taken(outbox) == ["reply", "price", "order"]
    assert not outbox.ready.is_set()


def test_a_slow_reader_gets_the_newest_and_hears_how_many_it_missed() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.price("BTC-USD", str(number).encode())
        outbox.order("order-1", str(10 + number).encode())
    assert taken(outbox) == [{"type": "skipped", "prices": 4, "orders": 4}, 4, 14]
    outbox.price("BTC-USD", b"6")
    assert taken(outbox) == [6]


def test_more_orders_than_fit_one_frame_come_in_the_next() -> None:
    outbox = Outbox()
    for number in range(ORDERS_A_FRAME + 1):
        outbox.order(f"order-{number}", str(number).encode())
    assert taken(outbox) == list(range(ORDERS_A_FRAME))
    assert outbox.ready.is_set()
    assert taken(outbox) == [ORDERS_A_FRAME]


def test_what_does_not_fit_overflows_and_is_not_kept() -> None:
    notes, orders = Outbox(), Outbox()
    for _ in range(NOTES_MAX + 1):
        notes.note(b"0")
    for number in range(ORDERS_MAX + 1):
        orders.order(f"order-{number}", b"0")
    assert notes.overflowed
    assert orders.overflowed


def test_a_forgotten_symbol_is_not_said_any_more() -> None:
    outbox = Outbox()
    outbox.price("BTC-USD", b"1")
    outbox.forget_price("BTC-USD")
    assert taken(outbox) == []


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C"]), st.booleans()), max_size=60))
def test_the_last_price_always_arrives_and_every_other_is_counted(
    steps: list[tuple[str, bool]],
) -> None:
    outbox, seen, skipped = Outbox(), dict[str, int](), 0
    said = 0

    def read() -> None:
        nonlocal skipped, said
        for message in taken(outbox):
            if "type" in message:
                skipped += message["prices"]
            else:
                said += 1
                seen[message["symbol"]] = message["number"]

    last = {}
    for number, (symbol, take) in enumerate(steps):
        last[symbol] = number
        outbox.price(symbol, json.dumps({"symbol": symbol, "number": number}).encode())
        if take:
            read()
    read()
    assert seen == last
    assert said + skipped == len(steps)
