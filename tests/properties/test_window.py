"""The limit holds in any minute, and the server's script counts as the pure model does."""

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_platform.cache.valkey import start_embedded
from trading_platform.limits.scripts import admit_source
from trading_platform.limits.window import Window, spend

PERIOD = 60_000_000
START = 1_790_000_000_000_000
GIVEN_TIME = "local now = tonumber(ARGV[#ARGV])\n"

# Steps that cluster where mistakes hide: nothing, a bit, about a period, back a little or a lot.
steps = st.lists(
    st.one_of(
        st.integers(0, 5),
        st.integers(0, PERIOD // 4),
        st.integers(PERIOD - 2, PERIOD + 2),
        st.integers(-PERIOD // 2, 0),
        st.just(-2 * PERIOD),
    ),
    min_size=1,
    max_size=60,
)
fresh = itertools.count()


@pytest.fixture(scope="module")
def client() -> Iterator["redis.Redis"]:
    with tempfile.TemporaryDirectory(prefix="tp-test-") as folder:
        server = asyncio.run(start_embedded(Path(folder)))
        opened = redis.Redis.from_url(server.url)
        yield opened
        opened.close()
        asyncio.run(server.close())


@given(
    limit=st.integers(1, 8),
    gaps=st.lists(st.integers(0, PERIOD // 3) | st.integers(PERIOD - 1, PERIOD + 1), max_size=120),
    costs=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_no_period_ever_holds_more_than_the_limit(
    limit: int, gaps: list[int], costs: st.DataObject
) -> None:
    window, now, taken = Window(), 0, []
    for gap in gaps:
        now += gap
        cost = costs.draw(st.integers(0, limit))
        window, spent = spend(window, cost, now, limit=limit, period_us=PERIOD)
        assert len(window.stamps) <= limit
        assert 0 <= spent.remaining <= limit
        if spent.retry_after_us == 0:
            taken += [now] * cost
            assert sum(now - PERIOD < at <= now for at in taken) == limit - spent.remaining
        else:
            _, early = spend(
                window, cost, now + spent.retry_after_us - 1, limit=limit, period_us=PERIOD
            )
            _, due = spend(window, cost, now + spent.retry_after_us, limit=limit, period_us=PERIOD)
            assert (early.retry_after_us > 0, due.retry_after_us) == (True, 0)
    for start in taken:
        assert sum(start <= at < start + PERIOD for at in taken) <= limit


@given(limits=st.lists(st.integers(1, 6), min_size=1, max_size=3), moves=steps)
@settings(max_examples=60, deadline=None)
def test_script_counts_as_the_model_does(
    client: "redis.Redis", limits: list[int], moves: list[int]
) -> None:
    """Changing limits are a tenant changing its tier."""
    script = client.register_script(admit_source(GIVEN_TIME))
    key, window, now = f"test:{next(fresh)}", Window(), START
    for step, limit in zip(moves, itertools.cycle(limits), strict=False):
        now += step
        window, model = spend(window, 1, now, limit=limit, period_us=PERIOD)
        verdict, retry, remaining, reset, _, _ = script([key], [PERIOD, 1, limit, now])
        assert (verdict, retry, remaining, reset) == (
            int(model.retry_after_us > 0),
            model.retry_after_us,
            model.remaining,
            model.reset_us,
        )
        assert [int(at) for at in client.lrange(key, 0, -1)] == list(window.stamps)


@given(moves=st.lists(st.integers(0, PERIOD // 3), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_script_spends_a_request_and_an_order_or_neither(
    client: "redis.Redis", moves: list[int]
) -> None:
    script = client.register_script(admit_source(GIVEN_TIME))
    name, now = next(fresh), START
    keys = [f"test:{name}:{part}" for part in ("requests", "orders", "mirror", "permit")]
    requests, orders = Window(), Window()
    for n, step in enumerate(moves):
        now += step
        client.set(keys[3], f"{now}|G|")
        if n % 3 == 0:  # a plain request, so that the two logs differ
            requests, _ = spend(requests, 1, now, limit=6, period_us=PERIOD)
            script(keys[:1], [PERIOD, 1, 6, now])
        looked = [
            spend(log, 1, now, limit=lim, period_us=PERIOD)
            for log, lim in ((requests, 6), (orders, 4))
        ]
        fits = all(spent.retry_after_us == 0 for _, spent in looked)
        if fits:
            requests, orders = looked[0][0], looked[1][0]
        verdict, retry, *_ = script(keys, [PERIOD, 1, 6, 4, "BINANCE", now])
        assert (verdict == 0) == fits
        assert retry == max(spent.retry_after_us for _, spent in looked)
        live = [at for at in orders.stamps if at > now - PERIOD]
        assert [int(at) for at in client.lrange(keys[1], 0, -1)] == live
