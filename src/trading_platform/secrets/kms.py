"""Data keys wrapped by AWS KMS, bound to their encryption context (KMS developer guide,
"Encryption context"; API GenerateDataKey, Decrypt).
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, TypedDict

from trading_platform.kit.clock import Clock
from trading_platform.secrets.aws_calls import AwsCalls, Known, open_client
from trading_platform.secrets.envelope import KEY_BYTES, Context, DataKey, damaged
from trading_platform.secrets.model import SecretBytes

NOT_OURS = ("InvalidCiphertextException", "IncorrectKeyException")


class _NewKey(TypedDict):
    Plaintext: bytes
    CiphertextBlob: bytes


class _OldKey(TypedDict):
    Plaintext: bytes


class KmsClient(Protocol):
    """What we use of the KMS API."""

    async def generate_data_key(
        self, *, KeyId: str, NumberOfBytes: int, EncryptionContext: Mapping[str, str]
    ) -> _NewKey: ...

    async def decrypt(
        self, *, KeyId: str, CiphertextBlob: bytes, EncryptionContext: Mapping[str, str]
    ) -> _OldKey: ...


class KmsKeys:
    """The KeyProvider on one KMS key. `older` keys only unwrap; no other key is ever asked, so that
    nobody's key can vouch for a record but ours.
    """

    def __init__(
        self,
        client: KmsClient,
        calls: AwsCalls,
        key_id: str,
        older: Sequence[str] = (),
        resources: AsyncExitStack | None = None,
    ) -> None:
        self._client = client
        self._calls = calls
        self._key_id = key_id
        self._older = tuple(older)
        self._resources = resources or AsyncExitStack()

    @classmethod
    async def open(
        cls,
        *,
        key_id: str,
        region: str,
        clock: Clock,
        older: Sequence[str] = (),
        endpoint_url: str | None = None,
    ) -> "KmsKeys":
        """Connect; AWS credentials come from the standard chain."""
        resources = AsyncExitStack()
        client: KmsClient = await open_client(
            "kms", resources, region=region, endpoint_url=endpoint_url
        )
        return cls(client, AwsCalls("AWS KMS", clock), key_id, older, resources)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._resources.aclose()

    @property
    def key_id(self) -> str:
        """The KMS key that wraps new data keys."""
        return self._key_id

    async def new_data_key(self, context: Context) -> DataKey:
        """GenerateDataKey."""
        answer = await self._calls.run(
            lambda: self._client.generate_data_key(
                KeyId=self._key_id, NumberOfBytes=KEY_BYTES, EncryptionContext=dict(context)
            )
        )
        return DataKey(SecretBytes(answer["Plaintext"]), answer["CiphertextBlob"], self._key_id)

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes:
        """Decrypt; UNUSABLE_DATA when it is not one of ours for this context."""
        for key_id in (self._key_id, *self._older):
            try:
                return await self._decrypt(key_id, wrapped, context)
            except Known:
                continue
        raise damaged()

    async def _decrypt(self, key_id: str, wrapped: bytes, context: Context) -> SecretBytes:
        answer = await self._calls.run(
            lambda: self._client.decrypt(
                KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext=dict(context)
            ),
            known=NOT_OURS,
        )
        return SecretBytes(answer["Plaintext"])
