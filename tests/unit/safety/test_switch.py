from datetime import UTC, datetime

import pytest

from trading_platform.kit.errors import ServiceError
from trading_platform.safety.switch import (
    BOARD_AGE_S_MAX,
    PLATFORM,
    Board,
    Scope,
    ScopeKind,
    SwitchState,
    activated,
    checked_words,
    exchange_scope,
    learned,
    may_trade,
    merged,
    parse_scope,
    released,
    tenant_scope,
    untouched,
)

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)


def _active(scope: Scope = PLATFORM, epoch: int = 1, reason: str = "drill") -> SwitchState:
    return SwitchState(
        scope=scope, active=True, epoch=epoch, reason=reason, actor="ann", changed_at=NOW
    )


def _released(scope: Scope = PLATFORM, epoch: int = 2) -> SwitchState:
    return SwitchState(
        scope=scope, active=False, epoch=epoch, reason="over", actor="ann", changed_at=NOW
    )


@pytest.mark.parametrize("scope", [PLATFORM, exchange_scope("BINANCE"), tenant_scope("t:1")])
def test_scope_reads_back_from_its_text(scope: Scope) -> None:
    assert parse_scope(str(scope)) == scope


@pytest.mark.parametrize(
    "text",
    ["", "tenant", "tenant:", "tenant:a b", "tenant:{a}", "platform:x", "desk:1", "PLATFORM"],
)
def test_text_that_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ServiceError, match="no scope"):
        parse_scope(text)


def test_activation_takes_the_next_epoch_from_any_state() -> None:
    for state, epoch in ((untouched(PLATFORM), 1), (_released(epoch=6), 7), (_active(epoch=3), 4)):
        now_active = activated(state, reason="new", actor="bob", now=NOW)
        assert (now_active.active, now_active.epoch, now_active.reason) == (True, epoch, "new")


def test_same_activation_again_changes_nothing() -> None:
    state = _active(reason="drill")
    assert activated(state, reason="drill", actor="ann", now=NOW) is state


def test_second_activation_makes_a_release_decided_before_it_fail() -> None:
    seen = _active(epoch=1)
    now_active = activated(seen, reason="another reason", actor="bob", now=NOW)
    with pytest.raises(ServiceError) as refused:
        released(now_active, epoch=seen.epoch, reason="over", actor="ann", now=NOW)
    assert refused.value.code == "CONFLICT"
    assert refused.value.metadata == {"scope": "platform", "active": True, "epoch": 2}


def test_release_with_the_epoch_seen_lets_trade() -> None:
    state = released(_active(epoch=4), epoch=4, reason="over", actor="bob", now=NOW)
    assert (state.active, state.epoch, state.reason, state.actor) == (False, 5, "over", "bob")


def test_same_release_again_changes_nothing_and_another_conflicts() -> None:
    state = released(_active(epoch=4), epoch=4, reason="over", actor="bob", now=NOW)
    assert released(state, epoch=4, reason="over", actor="bob", now=NOW) is state
    for epoch, actor in ((4, "ann"), (5, "bob"), (3, "bob")):
        with pytest.raises(ServiceError, match="not active at epoch 5"):
            released(state, epoch=epoch, reason="over", actor=actor, now=NOW)


def test_switch_never_used_cannot_be_released() -> None:
    for epoch in (-1, 0, 1):
        with pytest.raises(ServiceError):
            released(untouched(PLATFORM), epoch=epoch, reason="", actor="", now=NOW)


@pytest.mark.parametrize(("reason", "actor"), [("", "a"), ("  ", "a"), ("r", ""), ("r" * 501, "a")])
def test_change_without_usable_words_is_refused(reason: str, actor: str) -> None:
    with pytest.raises(ServiceError) as refused:
        checked_words(reason, actor)
    assert refused.value.code == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("seen", "read", "holds"),
    [
        (None, _active(epoch=1), _active(epoch=1)),
        (_active(epoch=1), _released(epoch=2), _released(epoch=2)),
        (_released(epoch=2), _active(epoch=3), _active(epoch=3)),
        (_active(epoch=3), _released(epoch=2), _active(epoch=3)),  # records restored from a backup
        (_active(epoch=3), untouched(PLATFORM), _active(epoch=3)),
        (_released(epoch=4), _active(epoch=3), _active(epoch=3)),  # the same, and truth says halted
        (_released(epoch=4), _released(epoch=2), _released(epoch=4)),
    ],
)
def test_of_two_accounts_the_newer_holds_but_lost_epochs_never_release(
    seen: SwitchState | None, read: SwitchState, holds: SwitchState
) -> None:
    assert merged(seen, read) == holds


def test_board_tells_what_is_news_once() -> None:
    board, news = learned(Board(), [_active(epoch=1)], 5.0)
    assert news == [_active(epoch=1)]
    board, news = learned(board, [_active(epoch=1)], 6.0)
    assert (news, board.read_at_s) == ([], 6.0)
    _, news = learned(board, [_released(epoch=2)])
    assert news == [_released(epoch=2)]


def test_reading_that_finishes_late_does_not_make_the_board_older() -> None:
    board, _ = learned(Board(read_at_s=6.0), [], 5.0)
    assert board.read_at_s == 6.0


@pytest.mark.parametrize("scope", [PLATFORM, exchange_scope("BINANCE"), tenant_scope("tenant-1")])
def test_active_switch_stops_its_scope(scope: Scope) -> None:
    board, _ = learned(Board(), [_active(scope)], 0.0)
    denial = may_trade(board, "tenant-1", "BINANCE", 0.1)
    assert denial is not None
    assert denial.state == _active(scope)
    assert "drill" in denial.message


@pytest.mark.parametrize(
    "state",
    [
        _active(exchange_scope("COINBASE")),
        _active(tenant_scope("tenant-2")),
        _active(Scope(ScopeKind.TENANT, "BINANCE")),
        _released(PLATFORM),
    ],
)
def test_switch_of_another_scope_or_released_stops_nothing(state: SwitchState) -> None:
    board, _ = learned(Board(), [state], 0.0)
    assert may_trade(board, "tenant-1", "BINANCE", 0.1) is None


def test_board_that_was_never_read_or_is_too_old_stops_everything() -> None:
    assert may_trade(Board(), "t", "BINANCE", 0.0) is not None
    board = Board(read_at_s=10.0)
    assert may_trade(board, "t", "BINANCE", 10.0 + BOARD_AGE_S_MAX) is None
    denial = may_trade(board, "t", "BINANCE", 10.1 + BOARD_AGE_S_MAX)
    assert denial is not None
    assert denial.state is None
