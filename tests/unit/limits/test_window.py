from trading_platform.limits.window import Window, spend

MINUTE = 60_000_000


def _spend(window: Window, now_us: int, cost: int = 1, limit: int = 2) -> tuple[Window, int, int]:
    window, spent = spend(window, cost, now_us, limit=limit, period_us=MINUTE)
    return window, spent.retry_after_us, spent.remaining


def test_units_up_to_the_limit_are_spent() -> None:
    window, retry, remaining = _spend(Window(), 0)
    assert (retry, remaining) == (0, 1)
    window, retry, remaining = _spend(window, 1)
    assert (retry, remaining) == (0, 0)


def test_refusal_says_when_the_next_unit_is_free_and_spends_nothing() -> None:
    full = Window((5, 10))
    window, retry, remaining = _spend(full, 20)
    assert (window, retry, remaining) == (full, MINUTE - 15, 0)


def test_unit_is_free_again_exactly_one_period_later() -> None:
    full = Window((5, 10))
    assert _spend(full, MINUTE + 4)[1] == 1
    assert _spend(full, MINUTE + 5)[1] == 0


def test_cost_that_does_not_fit_takes_nothing() -> None:
    window, retry, remaining = _spend(Window((5,)), 10, cost=2)
    assert (window.stamps, retry, remaining) == ((5,), MINUTE - 5, 1)


def test_looking_changes_nothing() -> None:
    assert _spend(Window((5,)), 10, cost=0) == (Window((5,)), 0, 1)


def test_clock_that_steps_back_a_little_stands_still() -> None:
    window, _, _ = _spend(Window((100,)), 40)
    assert window.stamps == (100, 100)


def test_clock_that_steps_back_over_a_period_starts_anew() -> None:
    window, retry, _ = _spend(Window((3 * MINUTE, 3 * MINUTE)), MINUTE)
    assert (window.stamps, retry) == ((MINUTE,), 0)


def test_lower_tier_counts_what_the_higher_one_spent() -> None:
    window, retry, _ = _spend(Window((10, 20, 30, 40)), 50)
    assert (window.stamps, retry) == ((30, 40), MINUTE - 20)
