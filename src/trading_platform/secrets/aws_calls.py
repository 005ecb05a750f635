"""Calls to KMS and Secrets Manager: bounded in time and tries; foreign errors end here.

aiobotocore is imported when a client is opened: it takes more than a second.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, TypeVar

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s

CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
DEADLINE_S = 8.0
TRIES_MAX = 4
IN_FLIGHT_MAX = 32

Answer = TypeVar("Answer")

_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "DecryptionFailure",
    "DisabledException",
    "EncryptionFailure",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidGrantTokenException",
    "InvalidKeyUsageException",
    "InvalidSignatureException",
    "KMSInvalidStateException",
    "MissingAuthenticationToken",
    "NotFoundException",
    "OptInRequired",
    "UnrecognizedClientException",
}
"""What an operator must mend: rights, credentials, the state of the KMS key."""

_LATER = {
    "DependencyTimeoutException",
    "InternalFailure",
    "InternalServiceError",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


class _Failure(NamedTuple):
    """Why a try brought no answer, and whether another may."""

    reason: str
    later: bool


class Known(Exception):
    """An error code that the caller asked to see itself."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AwsCalls:
    """Runs requests to one service, at most IN_FLIGHT_MAX at once. All our requests can be sent
    again: writes carry a token or set what is set already.
    """

    def __init__(self, service: str, clock: Clock, *, deadline_s: float = DEADLINE_S) -> None:
        self._service = service
        self._clock = clock
        self._deadline_s = deadline_s
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def run(
        self, request: Callable[[], Awaitable[Answer]], *, known: Collection[str] = ()
    ) -> Answer:
        """The answer within `deadline_s`; raises Known for the codes in `known`."""
        outcome: Answer | _Failure = _Failure(f"no answer within {self._deadline_s:g} s", True)
        # What is raised is raised outside of every handler: the frames of the AWS library, which
        # hold whole requests, are not to hang on it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s), self._slots:
                outcome = await self._try(request)
        if not isinstance(outcome, _Failure):
            return outcome
        if outcome.reason in known:
            raise Known(outcome.reason)
        raise self._unavailable(outcome.reason) if outcome.later else self._refused(outcome.reason)

    async def _try(self, request: Callable[[], Awaitable[Answer]]) -> "Answer | _Failure":
        for attempt in range(1, TRIES_MAX):
            outcome = await _once(request)
            if not isinstance(outcome, _Failure) or not outcome.later:
                return outcome
            await self._clock.sleep(backoff_s(attempt, first_s=0.1, most_s=1.0))
        return await _once(request)

    def _refused(self, why: str) -> ServiceError:
        code = "NOT_PERMITTED" if why in _DENIED else "PROVIDER_UNAVAILABLE"
        return ServiceError(
            f"{self._service} refuses the request ({why}). The operator's AWS credentials, the "
            "key's policy or its state do not allow it.",
            code,
            metadata={"reason": why},
        )

    def _unavailable(self, why: str) -> ServiceError:
        return ServiceError(
            f"{self._service} cannot be used now ({why}); try again shortly.",
            "PROVIDER_UNAVAILABLE",
            metadata={"reason": why},
        )


async def _once(request: Callable[[], Awaitable[Answer]]) -> Answer | _Failure:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        return await request()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return _Failure(code, code in _LATER or (status >= 500 and code not in _DENIED))
    except NoCredentialsError:
        return _Failure("MissingAuthenticationToken", False)
    except (BotoCoreError, OSError) as error:
        return _Failure(type(error).__name__, True)


async def open_client(
    service: str, resources: AsyncExitStack, *, region: str, endpoint_url: str | None
) -> Any:
    """A client of aiobotocore; `endpoint_url` for an emulator or a VPC endpoint."""
    try:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session
    except ImportError as error:
        raise ServiceError(
            f"AWS {service} needs the extra `aws`: install trading-platform[aws].",
            "PROVIDER_UNAVAILABLE",
        ) from error
    _keep_bodies_out_of_logs()
    config = AioConfig(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=IN_FLIGHT_MAX,
        retries={"total_max_attempts": 1},
        # A refusal of its own would quote the value it refuses.
        parameter_validation=False,
        tcp_keepalive=True,
    )
    create = get_session().create_client(
        service, region_name=region, endpoint_url=endpoint_url, config=config
    )
    return await resources.enter_async_context(create)


def _keep_bodies_out_of_logs() -> None:
    """At debug level botocore writes whole requests and answers, secrets included."""
    for name in ("botocore.endpoint", "botocore.parsers", "botocore.awsrequest", "botocore.auth"):
        logger = logging.getLogger(name)
        if _not_debug not in logger.filters:
            logger.addFilter(_not_debug)


def _not_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
