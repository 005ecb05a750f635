"""The four steps of a rotation, killed between any two, and the events that tell of a change."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.secrets.parts import PATH, V1, V2, V3, a_vault, credentials
from trading_platform.aws.rotation import Rotation, changed_path, path_of
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.paths import SecretName
from trading_platform.secrets.payloads import Credentials, to_payload
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretStore

ARN = f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{PATH}-AbC123"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


class Desk:
    """A store with a current and a staged key, and an exchange that says whether keys are fit."""

    def __init__(self, store: SecretStore) -> None:
        self.store = store
        self.tested: list[str] = []
        self.unfit = False
        self.rotation = Rotation(store, self.test)

    async def test(self, name: SecretName, found: Credentials) -> None:
        assert isinstance(found, ExchangeCredentials)
        assert name.path == PATH
        self.tested.append(found.api_secret.open())
        if self.unfit:
            raise ServiceError("it may withdraw", "NOT_PERMITTED")

    async def step(self, step: str, token: str = V3) -> None:
        await self.rotation.step(
            {"Step": step, "SecretId": ARN, "ClientRequestToken": token, "RotationToken": "r"}
        )

    async def labels(self) -> dict[Stage, str]:
        found = await self.store.describe(PATH)
        return {stage: one.version_id for one in found.versions for stage in one.stages}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_vault(tmp_path) as (vault, _):
        store = vault.store
        await store.put(PATH, V1, to_payload(credentials("old")), stage=Stage.CURRENT)
        await store.put(PATH, V2, to_payload(credentials("new")), stage=Stage.STAGED)
        yield Desk(store)


@pytest.mark.parametrize("again", range(len(STEPS) + 1))
async def test_a_rotation_killed_between_two_steps_starts_over_and_ends_well(
    desk: Desk, again: int
) -> None:
    for step in (*STEPS[:again], *STEPS, STEPS[-1]):
        await desk.step(step)
    assert await desk.labels() == {Stage.CURRENT: V3, Stage.PREVIOUS: V1}
    assert '"new"' in (await desk.store.get(PATH)).payload.open()
    assert desk.tested


@pytest.mark.parametrize("step", STEPS[1:])
async def test_no_step_does_anything_before_the_first(desk: Desk, step: str) -> None:
    with pytest.raises(ServiceError, match="createSecret comes first"):
        await desk.step(step)
    assert await desk.labels() == {Stage.CURRENT: V1, Stage.STAGED: V2}


async def test_both_spellings_of_the_steps_are_known(desk: Desk) -> None:
    for step in ("create_secret", "set_secret", "test_secret", "finish_secret"):
        await desk.step(step)
    assert (await desk.labels())[Stage.CURRENT] == V3


async def test_a_key_that_fails_its_test_never_becomes_current(desk: Desk) -> None:
    desk.unfit = True
    await desk.step("createSecret")
    for step in ("testSecret", "finishSecret"):
        with pytest.raises(ServiceError, match="withdraw"):
            await desk.step(step)
    assert (await desk.labels())[Stage.CURRENT] == V1


async def test_a_rotation_without_a_new_key_says_what_to_do(desk: Desk) -> None:
    await desk.store.retire(PATH, V2)
    with pytest.raises(ServiceError, match="make one at its issuer"):
        await desk.step("createSecret")
    assert await desk.labels() == {Stage.CURRENT: V1}


async def test_a_late_repeat_leaves_the_next_staged_key_alone(desk: Desk) -> None:
    for step in STEPS:
        await desk.step(step)
    await desk.store.put(PATH, "4" * 32, to_payload(credentials("next")), stage=Stage.STAGED)
    for step in STEPS:
        await desk.step(step)
    assert (await desk.labels())[Stage.STAGED] == "4" * 32
    assert (await desk.labels())[Stage.CURRENT] == V3


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"Step": "createSecret"},
        {"Step": "dropSecret", "SecretId": ARN, "ClientRequestToken": V3},
        {"Step": "createSecret", "SecretId": "other-secret", "ClientRequestToken": V3},
        {"Step": None, "SecretId": 1, "ClientRequestToken": 2},
    ],
)
async def test_an_event_that_is_none_is_refused(desk: Desk, event: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        await desk.rotation.step(event)
    assert caught.value.code == "INVALID_REQUEST"


def test_a_secret_is_known_by_its_arn_and_by_its_name() -> None:
    assert path_of(ARN) == path_of(PATH) == PATH


@pytest.mark.parametrize(
    ("detail", "path"),
    [
        ({"eventName": "PutSecretValue", "requestParameters": {"secretId": PATH}}, PATH),
        ({"eventName": "DeleteSecret", "requestParameters": {"secretId": ARN}}, PATH),
        ({"eventName": "UpdateSecretVersionStage", "requestParameters": {"secretId": ARN}}, PATH),
        ({"eventName": "RotationSucceeded", "additionalEventData": {"SecretId": ARN}}, PATH),
        ({"eventName": "RotationFailed", "additionalEventData": {"SecretId": ARN}}, None),
        ({"eventName": "GetSecretValue", "requestParameters": {"secretId": ARN}}, None),
        (
            {
                "eventName": "PutSecretValue",
                "requestParameters": {"secretId": ARN},
                "errorCode": "AccessDenied",
            },
            None,
        ),
        ({"eventName": "PutSecretValue", "requestParameters": {"secretId": "theirs"}}, None),
        ({"eventName": "PutSecretValue", "requestParameters": None}, None),
        ({"eventName": "PutSecretValue"}, None),
        (None, None),
    ],
)
def test_events_name_the_secret_that_changed(detail: Any, path: str | None) -> None:
    assert changed_path({"detail-type": "AWS API Call via CloudTrail", "detail": detail}) == path
