"""What we use of the AWS Secrets Manager API (API reference, by the names of its actions)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypedDict


class Value(TypedDict):
    VersionId: str
    VersionStages: list[str]
    SecretString: str
    CreatedDate: datetime


class Version(TypedDict, total=False):
    VersionId: str
    VersionStages: list[str]
    CreatedDate: datetime


class Described(TypedDict, total=False):
    VersionIdsToStages: Mapping[str, Sequence[str]]
    DeletedDate: datetime


class Versions(TypedDict, total=False):
    Versions: list[Version]
    NextToken: str


class Listed(TypedDict, total=False):
    Name: str


class List(TypedDict, total=False):
    SecretList: list[Listed]
    NextToken: str


class SecretsManagerClient(Protocol):
    """What we use of the Secrets Manager API."""

    async def get_secret_value(
        self, *, SecretId: str, VersionId: str = ..., VersionStage: str = ...
    ) -> Value: ...

    async def create_secret(self, *, Name: str, **options: str) -> object: ...

    async def put_secret_value(
        self,
        *,
        SecretId: str,
        ClientRequestToken: str,
        SecretString: str,
        VersionStages: Sequence[str],
    ) -> object: ...

    async def update_secret_version_stage(
        self, *, SecretId: str, VersionStage: str, **versions: str
    ) -> object: ...

    async def describe_secret(self, *, SecretId: str) -> Described: ...

    async def list_secret_version_ids(
        self, *, SecretId: str, MaxResults: int, **more: str
    ) -> Versions: ...

    async def delete_secret(self, *, SecretId: str, ForceDeleteWithoutRecovery: bool) -> object: ...

    async def list_secrets(
        self, *, Filters: Sequence[Mapping[str, object]], MaxResults: int, **more: str
    ) -> List: ...
