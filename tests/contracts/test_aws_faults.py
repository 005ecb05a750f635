"""KMS and Secrets Manager that deny, throttle, hang, break off or are not there at all."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.aws_calls import TRIES_MAX, AwsCalls, open_client
from trading_platform.secrets.flights import Flights
from trading_platform.secrets.kms import KmsKeys
from trading_platform.secrets.model import Secret
from trading_platform.secrets.paths import exchange_path
from trading_platform.secrets.secrets_manager_store import SecretsManagerStore
from trading_platform.secrets.stages import Stage

PATH = exchange_path("test", "BINANCE", "tenant-1")
CANARY = "canary-5581-secret"
VERSION = "1" * 32
KEY = {"Plaintext": "A" * 43 + "=", "CiphertextBlob": "Y2lwaGVy", "KeyId": "key"}
DEADLINE_S = 4.0
"""Long enough for a first call on a slow machine."""

FAULTS = [
    ("AccessDeniedException", 400, "NOT_PERMITTED", 1),
    ("UnrecognizedClientException", 400, "NOT_PERMITTED", 1),
    ("DisabledException", 400, "NOT_PERMITTED", 1),
    ("KMSInvalidStateException", 400, "NOT_PERMITTED", 1),
    ("NotFoundException", 400, "NOT_PERMITTED", 1),
    ("DecryptionFailure", 400, "NOT_PERMITTED", 1),
    ("ThrottlingException", 400, "PROVIDER_UNAVAILABLE", TRIES_MAX),
    ("LimitExceededException", 400, "PROVIDER_UNAVAILABLE", TRIES_MAX),
    ("InternalServiceError", 500, "PROVIDER_UNAVAILABLE", TRIES_MAX),
    ("DependencyTimeoutException", 503, "PROVIDER_UNAVAILABLE", TRIES_MAX),
    ("SomethingNew", 400, "PROVIDER_UNAVAILABLE", 1),
    ("SomethingNew", 502, "PROVIDER_UNAVAILABLE", TRIES_MAX),
    ("", 500, "PROVIDER_UNAVAILABLE", TRIES_MAX),
]


class Aws:
    """Answers every request with what `answer` says; counts them."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: tuple[str, int] | None = None
        self.faults_left = 1_000_000
        self.hangs = self.breaks = False
        self.answer: object = KEY
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.asked += 1
        if self.breaks:
            return False
        if self.hangs:
            await asyncio.Event().wait()
        status, body = 200, self.answer
        if self.fault and self.faults_left:
            self.faults_left -= 1
            status, body = self.fault[1], {"__type": self.fault[0], "message": "because"}
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
        await writer.drain()
        return True


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Aws]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws = Aws()
    server = await asyncio.start_server(aws.serve, "127.0.0.1", 0)
    aws.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield aws
    server.close()


@pytest.fixture
async def kms(aws: Aws) -> AsyncIterator[KmsKeys]:
    async with AsyncExitStack() as stack:
        client = await open_client("kms", stack, region="eu-central-1", endpoint_url=aws.url)
        yield KmsKeys(
            client, AwsCalls("AWS KMS", ManualClock(), deadline_s=DEADLINE_S), "key", ["older"]
        )


@pytest.fixture
async def store(aws: Aws) -> AsyncIterator[SecretsManagerStore]:
    async with AsyncExitStack() as stack:
        client = await open_client(
            "secretsmanager", stack, region="eu-central-1", endpoint_url=aws.url
        )
        calls = AwsCalls("AWS Secrets Manager", ManualClock(), deadline_s=DEADLINE_S)
        yield SecretsManagerStore(client, calls)


async def refusal(work: object) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await work  # type: ignore[misc]  # any coroutine
    return caught.value


@pytest.mark.parametrize(("name", "status", "code", "asked"), FAULTS)
async def test_a_refusal_of_kms_is_told_with_its_name_after_bounded_tries(
    aws: Aws, kms: KmsKeys, name: str, status: int, code: str, asked: int
) -> None:
    aws.fault = (name, status)
    error = await refusal(kms.unwrap(b"wrapped", {"path": "p"}))
    assert (error.code, aws.asked) == (code, asked)
    assert name in error.message
    error = await refusal(kms.new_data_key({"path": "p"}))
    assert (error.code, aws.asked) == (code, 2 * asked)


@pytest.mark.parametrize(("name", "status", "code", "asked"), FAULTS)
async def test_a_refusal_of_secrets_manager_is_told_and_shows_no_secret(
    aws: Aws, store: SecretsManagerStore, name: str, status: int, code: str, asked: int
) -> None:
    aws.fault = (name, status)
    error = await refusal(store.put(PATH, VERSION, Secret(CANARY), stage=Stage.CURRENT))
    assert (error.code, aws.asked) == (code, asked)
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert CANARY not in "".join(lines)
    assert (await refusal(store.get(PATH))).code == code


async def test_a_throttled_request_gets_its_answer_in_the_end(aws: Aws, kms: KmsKeys) -> None:
    aws.fault, aws.faults_left = ("ThrottlingException", 400), TRIES_MAX - 1
    key = await kms.new_data_key({"path": "p"})
    assert (len(key.plain.open()), aws.asked) == (32, TRIES_MAX)


async def test_what_kms_calls_foreign_is_tried_with_older_keys_and_no_other(
    aws: Aws, kms: KmsKeys
) -> None:
    aws.fault = ("IncorrectKeyException", 400)
    assert (await refusal(kms.unwrap(b"wrapped", {}))).code == "UNUSABLE_DATA"
    assert aws.asked == 2
    aws.fault, aws.faults_left = ("InvalidCiphertextException", 400), 1
    assert len((await kms.unwrap(b"wrapped", {})).open()) == 32


async def test_a_slow_service_ends_in_bounded_time(
    aws: Aws, kms: KmsKeys, store: SecretsManagerStore
) -> None:
    aws.hangs = True
    for work in (
        kms.unwrap(b"wrapped", {}),
        store.put(PATH, VERSION, Secret(CANARY), stage=Stage.CURRENT),
    ):
        error = await refusal(work)
        assert (error.code, f"within {DEADLINE_S:g} s" in error.message) == (
            "PROVIDER_UNAVAILABLE",
            True,
        )
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        assert CANARY not in "".join(lines)


async def test_a_service_that_breaks_off_or_is_gone_is_unavailable(
    aws: Aws, store: SecretsManagerStore
) -> None:
    aws.breaks = True
    assert (await refusal(store.get(PATH))).code == "PROVIDER_UNAVAILABLE"
    async with AsyncExitStack() as stack:
        nowhere = await open_client(
            "kms", stack, region="eu-central-1", endpoint_url="http://127.0.0.1:1"
        )
        keys = KmsKeys(nowhere, AwsCalls("AWS KMS", ManualClock()), "key")
        assert (await refusal(keys.new_data_key({}))).code == "PROVIDER_UNAVAILABLE"


async def test_a_failure_is_not_cached(aws: Aws, store: SecretsManagerStore) -> None:
    flights: Flights[str] = Flights(ManualClock(), ttl_s=300, entries_max=10)

    async def read() -> str:
        return (await store.get(PATH)).payload.open()

    aws.fault = ("AccessDeniedException", 400)
    assert (await refusal(flights.read("key", read))).code == "NOT_PERMITTED"
    aws.fault = None
    aws.answer = {
        "Name": PATH,
        "VersionId": VERSION,
        "VersionStages": ["AWSCURRENT"],
        "SecretString": "text",
        "CreatedDate": 1,
    }
    assert await flights.read("key", read) == "text"


async def test_debug_logs_of_the_aws_library_show_no_secret(
    aws: Aws, store: SecretsManagerStore, kms: KmsKeys, caplog: pytest.LogCaptureFixture
) -> None:
    aws.answer = {
        "Name": PATH,
        "VersionId": VERSION,
        "VersionStages": ["AWSCURRENT"],
        "SecretString": CANARY,
        "CreatedDate": 1,
        **KEY,
    }
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        await store.put(PATH, VERSION, Secret(CANARY), stage=Stage.CURRENT)
        assert (await store.get(PATH)).payload.open() == CANARY
        await kms.new_data_key({"path": "p"})
        aws.fault = ("ThrottlingException", 400)
        await refusal(store.put(PATH, VERSION, Secret(CANARY), stage=Stage.CURRENT))
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    assert "botocore" in caplog.text
    assert CANARY not in caplog.text
    assert KEY["Plaintext"] not in caplog.text
