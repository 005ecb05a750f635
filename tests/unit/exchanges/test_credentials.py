"""The credential flow on a real vault, a real audit log and simulated exchanges."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from tests.builders import an_order
from tests.custody import FIT, TENANT, House, a_house, a_key, a_process, some_exchanges
from trading_platform.exchanges.credential_rows import CredentialStatus
from trading_platform.exchanges.credentials import VALIDATIONS_MAX
from trading_platform.exchanges.ports import Accepted, Rejected
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.secrets.model import ExchangeCredentials, Secret
from trading_platform.secrets.stages import Stage

BINANCE, COINBASE = ExchangeId.BINANCE, ExchangeId.COINBASE


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as running:
        yield running


async def refusal(awaited: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await awaited
    return caught.value


async def nothing_is_stored(house: House, exchange_id: ExchangeId) -> None:
    assert (await refusal(house.service.view(TENANT, exchange_id))).code == "NOT_FOUND"
    assert (await refusal(house.custody.get(TENANT, exchange_id))).code == "NOT_FOUND"


def stored(house: House, exchange_id: ExchangeId) -> Any:
    return house.custody.get(TENANT, exchange_id)


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_fit_key_is_stored_and_only_its_name_is_shown(
    house: House, exchange_id: ExchangeId
) -> None:
    key = house.open_account(exchange_id)
    row = await house.submit(exchange_id, key)
    assert row.status is CredentialStatus.ACTIVE
    assert row.current is not None
    assert row.current.rights == ("read", "trade")
    assert row.current.validated_at is not None
    assert row.current.fingerprint.startswith(key.api_key[:4])
    assert row.current.ip_restricted is (True if exchange_id is BINANCE else None)
    shown = repr(await house.service.view(TENANT, exchange_id)) + repr(await house.entries())
    for secret in (key.api_secret, key.passphrase):
        assert secret is None or secret.open() not in shown
    assert key.api_key not in shown
    assert (await stored(house, exchange_id)).api_secret == key.api_secret
    await (await house.accounts.trading(TENANT, exchange_id)).balances()


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_key_that_may_withdraw_is_refused_and_not_stored(
    house: House, exchange_id: ExchangeId
) -> None:
    key = house.open_account(exchange_id, permissions=FIT | {"WITHDRAW"})
    error = await refusal(house.submit(exchange_id, key))
    assert (error.code, error.metadata["reason"]) == ("CREDENTIAL_REFUSED", "MAY_WITHDRAW")
    await nothing_is_stored(house, exchange_id)
    assert "CREDENTIAL_NOT_TAKEN" in await house.actions()


async def test_a_wrongly_pasted_key_is_named_without_asking_the_exchange(house: House) -> None:
    key = house.open_account(BINANCE)
    spaced = msgspec.structs.replace(key, api_secret=Secret(key.api_secret.open() + "\n"))
    error = await refusal(house.submit(BINANCE, spaced))
    assert (error.code, error.metadata["reason"]) == ("INVALID_REQUEST", "SPACES")
    swapped = ExchangeCredentials(
        api_key=key.api_secret.open(), api_secret=Secret(key.api_key), passphrase=None
    )
    error = await refusal(house.submit(BINANCE, swapped))
    assert error.code == "CREDENTIAL_REFUSED"
    assert "swapped" in error.message
    await nothing_is_stored(house, BINANCE)


class Silent:
    """Takes connections and never answers."""

    async def __aenter__(self) -> str:
        self._writers: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)

    async def __aexit__(self, *reason: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_an_exchange_that_does_not_answer_in_time_leaves_nothing_stored(
    tmp_path: Path, exchange_id: ExchangeId
) -> None:
    async with some_exchanges() as (cores, _), Silent() as url:
        urls = dict.fromkeys(ExchangeId, url)
        async with a_process(tmp_path, cores, urls, call_timeout_s=0.1) as house:
            async with asyncio.timeout(5):
                error = await refusal(house.submit(exchange_id, a_key(exchange_id)))
            assert error.code == "EXCHANGE_UNAVAILABLE"
            assert error.retryable
            await nothing_is_stored(house, exchange_id)


async def test_an_exchange_that_is_down_leaves_nothing_stored_and_suspends_nobody(
    tmp_path: Path,
) -> None:
    async with some_exchanges() as (cores, urls), a_process(tmp_path, cores, urls) as house:
        await house.submit(BINANCE, house.open_account(BINANCE))
    down = dict.fromkeys(ExchangeId, "http://127.0.0.1:1")
    async with a_process(tmp_path, cores, down, call_timeout_s=0.2) as house:
        error = await refusal(house.submit(COINBASE, a_key(COINBASE)))
        assert error.code == "EXCHANGE_UNAVAILABLE"
        await nothing_is_stored(house, COINBASE)
        house.clock.advance(hours=25)
        await house.watch.work_off()
        row = await house.service.view(TENANT, BINANCE)
        assert row.status is CredentialStatus.ACTIVE
        assert row.check_at is not None
        assert row.check_at > house.clock.now()


async def test_without_an_audit_log_no_key_is_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.open_account(BINANCE)

    async def full(*args: object, **fields: object) -> None:
        raise ServiceError("the disk is full", "STORAGE_UNAVAILABLE")

    with monkeypatch.context() as broken:
        broken.setattr(house.audit, "append", full)
        assert (await refusal(house.submit(BINANCE, key))).code == "STORAGE_UNAVAILABLE"
    await nothing_is_stored(house, BINANCE)


async def test_the_log_says_what_happens_before_it_happens(house: House) -> None:
    await house.submit(BINANCE, house.open_account(BINANCE))
    await house.service.delete(TENANT, BINANCE, actor="key-1")
    actions = await house.actions()
    expected = ["CREDENTIAL_STORED", "SECRET_STORED", "CREDENTIAL_DELETED", "SECRET_SHREDDED"]
    assert [action for action in actions if action in expected] == expected
    assert (await house.audit.verify(TENANT)).ok


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_right_that_appears_later_suspends_and_orders_are_refused(
    house: House, exchange_id: ExchangeId
) -> None:
    key = house.open_account(exchange_id)
    await house.submit(exchange_id, key)
    house.standing.may_send(TENANT, exchange_id)
    house.permit(exchange_id, key, "READ", "TRADE", "WITHDRAW")
    await house.watch.work_off()  # not due yet
    house.standing.may_send(TENANT, exchange_id)
    house.clock.advance(hours=25)
    await house.watch.work_off()
    row = await house.service.view(TENANT, exchange_id)
    assert row.status is CredentialStatus.SUSPENDED
    assert "withdraw" in (row.problem or "")
    with pytest.raises(ServiceError) as caught:
        house.standing.may_send(TENANT, exchange_id)
    assert caught.value.code == "CREDENTIAL_SUSPENDED"
    assert "withdraw" in caught.value.message
    fact = await asyncio.wait_for(house.suspensions.next(), 1)
    assert (fact.tenant_id, fact.exchange_id) == (TENANT, exchange_id)
    # What is open can still be seen and canceled.
    await (await house.accounts.trading(TENANT, exchange_id)).open_orders()
    house.permit(exchange_id, key, "READ", "TRADE")
    row = await house.service.validate(TENANT, exchange_id, actor="key-1")
    assert row.status is CredentialStatus.ACTIVE
    house.standing.may_send(TENANT, exchange_id)


async def test_of_a_suspended_key_open_orders_are_canceled_and_no_new_one_is_sent(
    house: House,
) -> None:
    key = house.open_account(BINANCE)
    core = house.exchanges[BINANCE]
    core.set_levels("BTC-USDT", [(Decimal(60_000), Decimal(1))], [(Decimal(60_010), Decimal(1))])
    core.external_trade("BTC-USDT", Decimal(60_000), Decimal(1), Side.SELL)
    await house.submit(BINANCE, key)
    trading = await house.accounts.trading(TENANT, BINANCE)
    instrument = await house.factory.instrument(BINANCE, "BTC-USDT")
    one, two = (
        an_order(client_order_id=str(uuid4()), price=Decimal(59_000), quantity=Decimal("0.001"))
        for _ in range(2)
    )
    assert isinstance(await trading.place(one, instrument), Accepted)
    house.permit(BINANCE, key, "READ", "TRADE", "WITHDRAW")
    assert (await refusal(house.service.validate(TENANT, BINANCE, actor="a"))).code
    refused = await trading.place(two, instrument)
    assert isinstance(refused, Rejected)
    assert refused.code == "CREDENTIAL_SUSPENDED"
    assert "withdraw" in refused.message
    assert isinstance(await trading.cancel(one, instrument), Accepted)
    account = core.key(key.api_key)
    assert account is not None
    assert len(core.orders(account.account_id)) == 1


async def test_a_broken_audit_log_keeps_nobody_from_being_suspended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.open_account(BINANCE)
    await house.submit(BINANCE, key)
    await house.custody.get(TENANT, BINANCE)  # released once, while the log still worked
    house.permit(BINANCE, key, "READ", "TRADE", "WITHDRAW")

    async def full(*args: object, **fields: object) -> None:
        raise ServiceError("the disk is full", "STORAGE_UNAVAILABLE")

    monkeypatch.setattr(house.audit, "append", full)
    error = await refusal(house.service.validate(TENANT, BINANCE, actor="a"))
    assert error.code == "CREDENTIAL_REFUSED"
    with pytest.raises(ServiceError):
        house.standing.may_send(TENANT, BINANCE)


async def test_a_key_that_the_exchange_ended_is_suspended_after_the_first_refusal(
    house: House,
) -> None:
    key = house.open_account(BINANCE)
    await house.submit(BINANCE, key)
    trading = await house.accounts.trading(TENANT, BINANCE)
    house.exchanges[BINANCE].revoke_key(key.api_key)
    assert (await refusal(trading.balances())).code == "NOT_AUTHENTICATED"
    await house.watch.work_off()
    row = await house.service.view(TENANT, BINANCE)
    assert row.status is CredentialStatus.SUSPENDED
    assert "unknown or deleted" in (row.problem or "")


async def test_one_suspension_is_told_once(house: House) -> None:
    key = house.open_account(BINANCE)
    await house.submit(BINANCE, key)
    house.exchanges[BINANCE].revoke_key(key.api_key)
    for _ in range(3):
        assert (
            await refusal(house.service.validate(TENANT, BINANCE, actor="a"))
        ).code == "CREDENTIAL_REFUSED"
    await asyncio.wait_for(house.suspensions.next(), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(house.suspensions.next(), 0.01)


async def test_a_deleted_key_is_gone_everywhere(house: House) -> None:
    await house.submit(BINANCE, house.open_account(BINANCE))
    row = await house.service.delete(TENANT, BINANCE, actor="key-1")
    assert row.shredded
    await nothing_is_stored(house, BINANCE)
    # Not even the derived key of a simulated account is used in its place.
    assert (await refusal(house.accounts.trading(TENANT, BINANCE))).code == "NOT_FOUND"
    assert (await refusal(house.service.delete(TENANT, BINANCE, actor="a"))).code == "NOT_FOUND"
    again = await house.submit(BINANCE, house.open_account(BINANCE, 2))
    assert again.status is CredentialStatus.ACTIVE
    await house.accounts.trading(TENANT, BINANCE)


async def test_a_tenant_revokes_its_own_keys_only(house: House) -> None:
    for exchange_id in ExchangeId:
        await house.submit(exchange_id, house.open_account(exchange_id))
    other = house.open_account(BINANCE, 2)
    await house.service.submit("tenant-2", BINANCE, other, actor="key-2")
    rows = await house.service.revoke_all(TENANT, actor="key-1", reason="stolen")
    assert {(row.exchange_id, row.status, row.shredded) for row in rows} == {
        (each, CredentialStatus.REVOKED, True) for each in ExchangeId
    }
    for exchange_id in ExchangeId:
        assert (await refusal(stored(house, exchange_id))).code == "NOT_FOUND"
        assert (await refusal(house.accounts.trading(TENANT, exchange_id))).code == "NOT_FOUND"
    assert (await house.custody.get("tenant-2", BINANCE)).api_secret == other.api_secret


async def test_the_operator_revokes_everybodys_keys_although_the_log_is_broken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        key = house.open_account(BINANCE, number)
        await house.service.submit(f"tenant-{number}", BINANCE, key, actor="a")

    async def full(*args: object, **fields: object) -> None:
        raise ServiceError("the disk is full", "STORAGE_UNAVAILABLE")

    with monkeypatch.context() as broken:
        broken.setattr(house.audit, "append", full)
        rows = await house.service.revoke_all(None, actor="operator", reason="broken into")
    assert len(rows) == 3
    await house.watch.work_off()  # finishes what could not be written down then
    for number in range(1, 4):
        tenant_id = f"tenant-{number}"
        row = await house.rows.get(tenant_id, BINANCE)
        assert row is not None
        assert (row.status, row.shredded) == (CredentialStatus.REVOKED, True)
        with pytest.raises(ServiceError):
            house.standing.may_send(tenant_id, BINANCE)
        assert (await refusal(house.custody.get(tenant_id, BINANCE))).code == "NOT_FOUND"


async def test_a_key_that_was_on_its_way_when_all_were_revoked_is_not_used(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = house.open_account(BINANCE, 1), house.open_account(BINANCE, 2)
    await house.submit(BINANCE, first)
    put = house.custody.put

    async def put_late(*args: Any, **fields: Any) -> None:
        await house.service.revoke_all(TENANT, actor="key-1", reason="stolen")
        await put(*args, **fields)

    monkeypatch.setattr(house.custody, "put", put_late)
    assert (await refusal(house.submit(BINANCE, second))).code == "CONFLICT"
    row = await house.rows.get(TENANT, BINANCE)
    assert row is not None
    assert (row.status, row.shredded) == (CredentialStatus.REVOKED, True)
    assert (await refusal(stored(house, BINANCE))).code == "NOT_FOUND"


async def test_another_process_follows_a_revocation(tmp_path: Path) -> None:
    async with (
        some_exchanges() as (cores, urls),
        a_process(tmp_path, cores, urls) as one,
        a_process(tmp_path, cores, urls) as two,
    ):
        await one.submit(BINANCE, one.open_account(BINANCE))
        await two.watch.follow()
        await (await two.accounts.trading(TENANT, BINANCE)).balances()
        await one.service.revoke_all(None, actor="operator", reason="broken into")
        await two.watch.follow()
        with pytest.raises(ServiceError):
            two.standing.may_send(TENANT, BINANCE)
        assert (await refusal(two.accounts.trading(TENANT, BINANCE))).code == "NOT_FOUND"


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_submission_that_was_cut_off_is_finished_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    async with some_exchanges() as (cores, urls):
        async with a_process(tmp_path, cores, urls) as house:
            key = house.open_account(BINANCE)

            async def cut(*args: Any, **fields: Any) -> None:
                if arrived:
                    await put(*args, **fields)
                raise RuntimeError("killed here")

            put = house.custody.put
            monkeypatch.setattr(house.custody, "put", cut)
            with pytest.raises(RuntimeError):
                await house.submit(BINANCE, key)
        async with a_process(tmp_path, cores, urls) as house:
            row = await house.service.view(TENANT, BINANCE)
            assert row.status is CredentialStatus.STORING
            house.clock.advance(minutes=2)
            await house.watch.work_off()
            if arrived:
                row = await house.service.view(TENANT, BINANCE)
                assert row.status is CredentialStatus.ACTIVE
                assert (await stored(house, BINANCE)).api_secret == key.api_secret
            else:
                await nothing_is_stored(house, BINANCE)


async def test_a_new_key_that_never_arrived_leaves_the_old_one_in_use(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = house.open_account(BINANCE, 1), house.open_account(BINANCE, 2)
    await house.submit(BINANCE, first)

    async def lost(*args: Any, **fields: Any) -> None:
        raise ServiceError("custody is down", "PROVIDER_UNAVAILABLE")

    with monkeypatch.context() as broken:
        broken.setattr(house.custody, "put", lost)
        assert (await refusal(house.submit(BINANCE, second))).code == "PROVIDER_UNAVAILABLE"
    house.clock.advance(minutes=2)
    await house.watch.work_off()
    row = await house.service.view(TENANT, BINANCE)
    assert row.status is CredentialStatus.ACTIVE
    assert row.incoming is None
    assert (await stored(house, BINANCE)).api_key == first.api_key
    house.standing.may_send(TENANT, BINANCE)


async def test_one_validation_of_an_account_at_a_time_and_few_of_all(
    tmp_path: Path,
) -> None:
    async with some_exchanges() as (cores, _), Silent() as url:
        urls = dict.fromkeys(ExchangeId, url)
        async with a_process(tmp_path, cores, urls, call_timeout_s=0.5) as house:

            def submit(number: int) -> Any:
                key = a_key(BINANCE, number)
                return house.service.submit(f"tenant-{number}", BINANCE, key, actor="a")

            waiting = [asyncio.ensure_future(submit(n)) for n in range(VALIDATIONS_MAX)]
            await asyncio.sleep(0.02)
            assert (await refusal(submit(0))).code == "CONFLICT"
            assert (await refusal(submit(99))).code == "RATE_LIMIT_EXCEEDED"
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert {getattr(a, "code", a) for a in answers} == {"EXCHANGE_UNAVAILABLE"}


async def test_an_exchange_without_keys_gets_a_clear_sentence(house: House) -> None:
    house.stored._modes = {}  # as if these were real exchanges
    error = await refusal(house.accounts.trading(TENANT, BINANCE))
    assert error.code == "NOT_FOUND"
    assert "credentials set BINANCE" in error.message


# -- rotation


async def rotated(house: House, exchange_id: ExchangeId, new: ExchangeCredentials) -> None:
    await house.rotation.stage(TENANT, exchange_id, new, actor="key-1")
    await house.rotation.test(TENANT, exchange_id, actor="key-1")
    await house.rotation.switch(TENANT, exchange_id, actor="key-1")


@pytest.mark.parametrize("exchange_id", ExchangeId)
async def test_a_rotation_goes_stage_test_switch_retire(
    house: House, exchange_id: ExchangeId
) -> None:
    old = house.open_account(exchange_id, 1)
    new = house.another_key(exchange_id, old, 2)
    await house.submit(exchange_id, old)
    row = await house.rotation.stage(TENANT, exchange_id, new, actor="a")
    assert row.pending is not None
    assert (await stored(house, exchange_id)).api_key == old.api_key
    assert (await refusal(house.rotation.switch(TENANT, exchange_id, actor="a"))).code == "CONFLICT"
    row = await house.rotation.test(TENANT, exchange_id, actor="a")
    assert row.pending is not None
    assert row.pending.rights == ("read", "trade")
    row = await house.rotation.switch(TENANT, exchange_id, actor="a")
    assert row.pending is None
    assert row.previous is not None
    assert (await stored(house, exchange_id)).api_key == new.api_key
    before = await house.custody.get(TENANT, exchange_id, stage=Stage.PREVIOUS)
    assert before.api_key == old.api_key
    row = await house.rotation.retire(TENANT, exchange_id, actor="a")
    assert row.previous is None
    gone = house.custody.get(TENANT, exchange_id, stage=Stage.PREVIOUS)
    assert (await refusal(gone)).code == "NOT_FOUND"
    assert (await refusal(house.rotation.retire(TENANT, exchange_id, actor="a"))).code == "CONFLICT"


async def test_an_unfit_staged_key_is_never_switched_to(house: House) -> None:
    old = house.open_account(BINANCE, 1)
    new = house.another_key(BINANCE, old, 2)
    house.permit(BINANCE, new, "READ", "TRADE", "WITHDRAW")
    await house.submit(BINANCE, old)
    await house.rotation.stage(TENANT, BINANCE, new, actor="a")
    error = await refusal(house.rotation.test(TENANT, BINANCE, actor="a"))
    assert error.code == "CREDENTIAL_REFUSED"
    assert (await refusal(house.rotation.switch(TENANT, BINANCE, actor="a"))).code == "CONFLICT"
    row = await house.service.view(TENANT, BINANCE)
    assert row.status is CredentialStatus.ACTIVE  # the key in use is as good as before
    house.permit(BINANCE, new, "READ", "TRADE")
    await house.rotation.test(TENANT, BINANCE, actor="a")
    house.clock.advance(hours=2)
    error = await refusal(house.rotation.switch(TENANT, BINANCE, actor="a"))
    assert "tested within the last hour" in error.message


async def test_the_old_key_is_retired_by_itself_after_a_day(house: House) -> None:
    old = house.open_account(BINANCE, 1)
    await house.submit(BINANCE, old)
    await rotated(house, BINANCE, house.another_key(BINANCE, old, 2))
    house.clock.advance(hours=23)
    await house.watch.work_off()
    assert (await house.service.view(TENANT, BINANCE)).previous is not None
    house.clock.advance(hours=2)
    await house.watch.work_off()
    assert (await house.service.view(TENANT, BINANCE)).previous is None
    gone = house.custody.get(TENANT, BINANCE, stage=Stage.PREVIOUS)
    assert (await refusal(gone)).code == "NOT_FOUND"


async def test_the_key_in_use_cannot_be_staged_and_nothing_to_rotate_is_a_conflict(
    house: House,
) -> None:
    key = house.open_account(BINANCE)
    stage = house.rotation.stage
    assert (await refusal(stage(TENANT, BINANCE, key, actor="a"))).code == "NOT_FOUND"
    await house.submit(BINANCE, key)
    assert (await refusal(stage(TENANT, BINANCE, key, actor="a"))).code == "INVALID_REQUEST"
    assert (await refusal(house.rotation.test(TENANT, BINANCE, actor="a"))).code == "CONFLICT"


async def test_a_stop_between_custody_and_the_row_is_taken_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = house.open_account(BINANCE, 1)
    new = house.another_key(BINANCE, old, 2)
    await house.submit(BINANCE, old)
    await house.rotation.stage(TENANT, BINANCE, new, actor="a")
    await house.rotation.test(TENANT, BINANCE, actor="a")

    async def cut(*args: Any) -> None:
        raise RuntimeError("killed here")

    with monkeypatch.context() as broken:
        broken.setattr(house.service, "arrived", cut)
        with pytest.raises(RuntimeError):
            await house.rotation.switch(TENANT, BINANCE, actor="a")
    row = await house.rotation.settled(TENANT, BINANCE)
    assert row.pending is None
    assert row.previous is not None
    assert (await stored(house, BINANCE)).api_key == new.api_key
