"""Rotation by AWS Secrets Manager: its four steps, and the events that tell of a change.

An exchange's key is made by its owner at the exchange, never by us. So `createSecret` takes the
value that somebody put under the label STAGED, `setSecret` has nothing to set, `testSecret` asks
the exchange what the key may do, and `finishSecret` moves the labels. Every step may be repeated,
and a rotation killed between two steps goes on where it was (Secrets Manager user guide, "Rotation
by Lambda function").
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.manager import TYPES
from trading_platform.secrets.paths import SecretName, parse
from trading_platform.secrets.payloads import Credentials, from_payload
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import SecretStore

Event = Mapping[str, Any]
Test = Callable[[SecretName, Credentials], Awaitable[None]]

CHANGES = {
    "DeleteSecret",
    "PutSecretValue",
    "RestoreSecret",
    "RotationSucceeded",
    "SecretVersionDeletion",
    "UpdateSecret",
    "UpdateSecretVersionStage",
}
"""Names of events after which a cached secret may be another."""

_ARN = re.compile(r"arn:[\w-]+:secretsmanager:[\w-]*:\d*:secret:(?P<path>/.+)-[A-Za-z0-9]{6}")


class Rotation:
    """The four steps on a store; `test` raises when a key must not be used."""

    def __init__(self, store: SecretStore, test: Test) -> None:
        self._store = store
        self._test = test
        self._steps = {
            "create_secret": self._create,
            "set_secret": self._set,
            "test_secret": self._check,
            "finish_secret": self._finish,
        }

    async def step(self, event: Event) -> None:
        """Do what Secrets Manager asks for: `Step` in either of its two spellings, `SecretId`,
        `ClientRequestToken`. (`RotationToken` is for a role of another account; ours is its own.)
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(event.get("Step"))).lower()
        step = self._steps.get(name)
        secret_id, token = event.get("SecretId"), event.get("ClientRequestToken")
        if step is None or not isinstance(secret_id, str) or not isinstance(token, str):
            raise ServiceError(
                f"a rotation event needs Step (one of {', '.join(self._steps)}), SecretId and "
                "ClientRequestToken",
                "INVALID_REQUEST",
            )
        await step(path_of(secret_id), token)

    async def _create(self, path: str, token: str) -> None:
        if await self._is_at(path, token, Stage.PENDING, Stage.CURRENT):
            return
        try:
            staged = await self._store.get(path, stage=Stage.STAGED)
        except ServiceError as error:
            if error.code != "NOT_FOUND":
                raise
            raise ServiceError(
                f"no new key waits for {path}: make one at its issuer and put it under the label "
                f"{Stage.STAGED}, then rotate again",
                "CONFLICT",
            ) from error
        await self._store.put(path, token, staged.payload, stage=Stage.PENDING)

    async def _set(self, path: str, token: str) -> None:
        await self._credentials(path, token)

    async def _check(self, path: str, token: str) -> None:
        await self._test(parse(path), await self._credentials(path, token))

    async def _finish(self, path: str, token: str) -> None:
        if not await self._is_at(path, token, Stage.CURRENT):
            # Tested again: whoever calls the steps out of order switches to nothing unfit.
            await self._check(path, token)
            await self._store.promote(path, token)
        staged = (await self._store.describe(path)).version_at(Stage.STAGED)
        if staged is not None and await self._is_same(path, staged, token):
            await self._store.retire(path, staged)

    async def _is_at(self, path: str, token: str, *stages: Stage) -> bool:
        try:
            return (await self._store.get(path, version_id=token)).stage in stages
        except ServiceError as error:
            if error.code != "NOT_FOUND":
                raise
            return False

    async def _is_same(self, path: str, one: str, other: str) -> bool:
        found = [await self._store.get(path, version_id=version) for version in (one, other)]
        return found[0].payload == found[1].payload

    async def _credentials(self, path: str, token: str) -> Credentials:
        if not await self._is_at(path, token, Stage.PENDING, Stage.CURRENT):
            raise ServiceError(
                f"version {token} of {path} is not pending: createSecret comes first", "CONFLICT"
            )
        found = await self._store.get(path, version_id=token)
        return from_payload(found.payload, TYPES[parse(path).kind])


def path_of(secret_id: str) -> str:
    """The path of a secret named by its ARN or its name."""
    found = _ARN.fullmatch(secret_id)
    return parse(found["path"] if found else secret_id).path


def changed_path(event: Event) -> str | None:
    """The path of the secret that an EventBridge event says has changed; None for other events.

    Both of CloudTrail's forms: a call ("AWS API Call via CloudTrail", `requestParameters`) and
    something the service did ("AWS Service Event via CloudTrail", `additionalEventData`).
    """
    detail = event.get("detail")
    if not isinstance(detail, Mapping) or detail.get("eventName") not in CHANGES:
        return None
    if detail.get("errorCode"):
        return None
    for holder, names in (
        ("requestParameters", ("secretId",)),
        ("additionalEventData", ("SecretId", "secretId")),
    ):
        fields = detail.get(holder)
        for name in names:
            secret_id = fields.get(name) if isinstance(fields, Mapping) else None
            if isinstance(secret_id, str):
                return _ours(secret_id)
    return None


def _ours(secret_id: str) -> str | None:
    try:
        return path_of(secret_id)
    except ServiceError:
        return None
