"""Calls to DynamoDB: bounded in number, in time and in tries; foreign errors end here.

botocore's own retries are off. It would send a conditional write again after a lost answer and then
report the failed condition of a write that had won; who calls here is told how often it was sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.kit.retry import backoff_s
from trading_platform.storage.dynamodb_items import ConditionFailed
from trading_platform.storage.rows import unavailable

TRIES_MAX = 6
IN_FLIGHT_MAX = 64
WAITING_MAX = 4096

Answer = TypeVar("Answer")

_REFUSED = {
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionConflictException",
    "TransactionInProgressException",
}
"""Errors that say: not now, and nothing was done."""

_REFUSED_REASONS = {
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
}
"""Reasons of a canceled transaction that say the same."""


class Calls:
    """Runs requests, at most IN_FLIGHT_MAX at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._waiting = 0

    async def run(
        self, request: Callable[[], Awaitable[Answer]], *, writes: bool = False
    ) -> Answer:
        """The answer, after up to TRIES_MAX tries."""
        if self._waiting >= WAITING_MAX:
            raise unavailable(f"{self._waiting} requests wait for DynamoDB already.")
        self._waiting += 1
        try:
            async with self._slots:
                return await self._try(request, writes)
        finally:
            self._waiting -= 1

    async def _try(self, request: Callable[[], Awaitable[Answer]], writes: bool) -> Answer:
        unanswered = False
        for attempt in range(1, TRIES_MAX + 1):
            try:
                return await request()
            except ClientError as error:
                _raise_if_final(error, resent=unanswered)
                unanswered = unanswered or _is_server_fault(error)
                last: Exception = error
            except BotoCoreError as error:
                unanswered, last = True, error
            except (OSError, TimeoutError) as error:
                unanswered, last = True, error
            if attempt < TRIES_MAX:
                await self._clock.sleep(backoff_s(attempt, first_s=0.05, most_s=2.0))
        raise unavailable(
            f"DynamoDB does not answer after {TRIES_MAX} tries: {last}",
            maybe_written=writes and unanswered,
        ) from last


def error_code(error: ClientError) -> str:
    """DynamoDB's name for the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _raise_if_final(error: ClientError, *, resent: bool) -> None:
    """Raise what trying again cannot change."""
    code = error_code(error)
    if code == "ConditionalCheckFailedException":
        raise ConditionFailed([_found(error.response)], resent=resent) from error
    if code == "TransactionCanceledException":
        reasons = list(_reasons(error.response))
        if any(reason.get("Code") == "ConditionalCheckFailed" for reason in reasons):
            raise ConditionFailed([_failed(reason) for reason in reasons], resent=resent) from error
        if not any(reason.get("Code") in _REFUSED_REASONS for reason in reasons):
            raise _refused(error) from error
        return
    if code not in _REFUSED and not _is_server_fault(error):
        raise _refused(error) from error


def _is_server_fault(error: ClientError) -> bool:
    """Whether nobody knows if the request was done."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status) >= 500


def _refused(error: ClientError) -> ServiceError:
    """Missing table, denied access, a request it does not take: for the operator to mend."""
    return unavailable(f"DynamoDB refuses the request: {error}")


def _failed(reason: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return _found(reason) if reason.get("Code") == "ConditionalCheckFailed" else None


def _found(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    item: Mapping[str, Any] = holder.get("Item", {})
    return item


def _reasons(response: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    reasons: list[Mapping[str, Any]] = response.get("CancellationReasons", [])
    return reasons
