"""Secrets in AWS Secrets Manager, under our paths as names and our stages as staging labels.

1. Every read names its label or version; nothing relies on a default.
2. A version that lost its labels counts as gone, though AWS itself keeps it for a while: it deletes
   versions without labels when it wants to, and has no call for that.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.aws_calls import AwsCalls, Known, open_client
from trading_platform.secrets.model import Secret
from trading_platform.secrets.paths import ROOT, parse
from trading_platform.secrets.secrets_manager_api import (
    List,
    SecretsManagerClient,
    Versions,
)
from trading_platform.secrets.stages import Stage
from trading_platform.secrets.store import (
    SecretDescription,
    StoredSecret,
    VersionDescription,
    check_payload,
    check_version_id,
    no_first_version,
    not_found,
    other_payload,
)

PAGES_MAX = 5_000
PAGE = 100
MISSING = ("ResourceNotFoundException", "InvalidRequestException")
"""InvalidRequestException: the secret is being deleted."""


class SecretsManagerStore:
    """The SecretStore on AWS Secrets Manager."""

    def __init__(
        self,
        client: SecretsManagerClient,
        calls: AwsCalls,
        *,
        kms_key_id: str | None = None,
        resources: AsyncExitStack | None = None,
    ) -> None:
        self._client = client
        self._calls = calls
        self._options = {"KmsKeyId": kms_key_id} if kms_key_id else {}
        self._resources = resources or AsyncExitStack()

    @classmethod
    async def open(
        cls,
        *,
        region: str,
        clock: Clock,
        kms_key_id: str | None = None,
        endpoint_url: str | None = None,
    ) -> "SecretsManagerStore":
        """Connect; AWS credentials come from the standard chain. `kms_key_id` guards new secrets
        (default: the account's own key for Secrets Manager).
        """
        resources = AsyncExitStack()
        client: SecretsManagerClient = await open_client(
            "secretsmanager", resources, region=region, endpoint_url=endpoint_url
        )
        calls = AwsCalls("AWS Secrets Manager", clock)
        return cls(client, calls, kms_key_id=kms_key_id, resources=resources)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._resources.aclose()

    async def put(self, path: str, version_id: str, payload: Secret, *, stage: Stage) -> None:
        """PutSecretValue, after CreateSecret for a new path."""
        parse(path)
        check_payload(payload)
        check_version_id(version_id)
        try:
            await self._put(path, version_id, payload, stage)
        except Known as error:
            if error.code == "ResourceExistsException":
                raise other_payload(path) from error
            if stage is not Stage.CURRENT:
                raise no_first_version(path) from error
            await self._create(path)
            try:
                await self._put(path, version_id, payload, stage)
            except Known as again:
                raise _being_deleted(path) from again

    async def get(
        self, path: str, *, stage: Stage = Stage.CURRENT, version_id: str | None = None
    ) -> StoredSecret:
        """GetSecretValue."""
        parse(path)
        which = {"VersionId": version_id} if version_id else {"VersionStage": stage.value}
        try:
            value = await self._calls.run(
                lambda: self._client.get_secret_value(SecretId=path, **which), known=MISSING
            )
        except Known as error:
            raise not_found(path) from error
        labels = _stages(value.get("VersionStages", ()))
        if not labels:
            raise not_found(path)
        return StoredSecret(
            version_id=value["VersionId"],
            payload=Secret(value["SecretString"]),
            stage=labels[0] if version_id else stage,
            created_at=value["CreatedDate"],
        )

    async def promote(self, path: str, version_id: str) -> None:
        """Move AWSCURRENT, which takes AWSPREVIOUS along, then drop what label the version had."""
        found = await self.describe(path)
        labels = _labels_of(found, version_id)
        if not labels:
            raise not_found(path)
        current = found.version_at(Stage.CURRENT)
        if current != version_id:
            from_ = {"RemoveFromVersionId": current} if current else {}
            await self._move(path, Stage.CURRENT, MoveToVersionId=version_id, **from_)
        for label in set(labels) - {Stage.CURRENT, Stage.PREVIOUS}:
            await self._move(path, label, RemoveFromVersionId=version_id)

    async def retire(self, path: str, version_id: str) -> None:
        """Take all labels from a version."""
        found = await self.describe(path)
        labels = _labels_of(found, version_id)
        if Stage.CURRENT in labels:
            raise ServiceError(
                f"this version of {path} is the current one; switch to another first, or delete "
                "the secret",
                "CONFLICT",
            )
        for label in labels:
            await self._move(path, label, RemoveFromVersionId=version_id)

    async def shred(self, path: str) -> None:
        """DeleteSecret without a recovery window."""
        parse(path)
        try:
            await self._calls.run(
                lambda: self._client.delete_secret(SecretId=path, ForceDeleteWithoutRecovery=True),
                known=MISSING,
            )
        except Known:
            return

    async def describe(self, path: str) -> SecretDescription:
        """DescribeSecret for the labels, ListSecretVersionIds for the dates."""
        parse(path)
        try:
            found = await self._calls.run(
                lambda: self._client.describe_secret(SecretId=path), known=MISSING
            )
        except Known as error:
            raise not_found(path) from error
        labels = {
            version: stages
            for version, names in found.get("VersionIdsToStages", {}).items()
            if (stages := _stages(names))
        }
        if "DeletedDate" in found or not labels:
            raise not_found(path)
        born = await self._dates(path)
        versions = tuple(
            VersionDescription(version_id=version, stages=stages, created_at=born[version])
            for version, stages in labels.items()
            if version in born
        )
        return SecretDescription(path=path, versions=versions)

    async def list_paths(self, prefix: str) -> list[str]:
        """ListSecrets by name."""
        found: list[str] = []
        more: dict[str, str] = {}
        filters = [{"Key": "name", "Values": [prefix or ROOT]}]
        for _ in range(PAGES_MAX):
            page = await self._page(filters, more)
            found += [one.get("Name", "") for one in page.get("SecretList", [])]
            if not page.get("NextToken"):
                break
            more = {"NextToken": page["NextToken"]}
        # AWS's own filter does not tell upper from lower case.
        return sorted(path for path in found if path.startswith(prefix or ROOT))

    async def _put(self, path: str, version_id: str, payload: Secret, stage: Stage) -> None:
        await self._calls.run(
            lambda: self._client.put_secret_value(
                SecretId=path,
                ClientRequestToken=version_id,
                SecretString=payload.open(),
                VersionStages=[stage.value],
            ),
            known=(*MISSING, "ResourceExistsException"),
        )

    async def _create(self, path: str) -> None:
        """An empty secret: the first value comes with the label it should have."""
        try:
            await self._calls.run(
                lambda: self._client.create_secret(Name=path, **self._options),
                known=("ResourceExistsException", "InvalidRequestException"),
            )
        except Known as error:
            # Somebody else created it at the same moment: as good.
            if error.code == "InvalidRequestException":
                raise _being_deleted(path) from error

    async def _move(self, path: str, stage: Stage, **versions: str) -> None:
        try:
            await self._calls.run(
                lambda: self._client.update_secret_version_stage(
                    SecretId=path, VersionStage=stage.value, **versions
                ),
                known=("InvalidParameterException", *MISSING),
            )
        except Known as error:
            raise ServiceError(
                f"{path} was changed by somebody else meanwhile; try again", "CONFLICT"
            ) from error

    async def _dates(self, path: str) -> dict[str, datetime]:
        """Version id -> when it was put."""
        born: dict[str, datetime] = {}
        more: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            page = await self._versions(path, more)
            born |= {one["VersionId"]: one["CreatedDate"] for one in page.get("Versions", [])}
            if not page.get("NextToken"):
                break
            more = {"NextToken": page["NextToken"]}
        return born

    async def _versions(self, path: str, more: Mapping[str, str]) -> Versions:
        try:
            return await self._calls.run(
                lambda: self._client.list_secret_version_ids(
                    SecretId=path, MaxResults=PAGE, **more
                ),
                known=MISSING,
            )
        except Known as error:
            raise not_found(path) from error

    async def _page(self, filters: Sequence[Mapping[str, object]], more: Mapping[str, str]) -> List:
        return await self._calls.run(
            lambda: self._client.list_secrets(Filters=filters, MaxResults=PAGE, **more)
        )


def _stages(labels: Sequence[str]) -> tuple[Stage, ...]:
    return tuple(stage for stage in Stage if stage in labels)


def _labels_of(found: SecretDescription, version_id: str) -> tuple[Stage, ...]:
    for version in found.versions:
        if version.version_id == version_id:
            return version.stages
    return ()


def _being_deleted(path: str) -> ServiceError:
    return ServiceError(f"{path} is being deleted; try again in a minute", "CONFLICT")
