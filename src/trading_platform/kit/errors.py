"""The one error that leaves any part of the platform, and the table of its codes."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class ErrorKind(NamedTuple):
    """What a code means to a caller: HTTP status, whether trying again can help, and one line of
    help.
    """

    status_code: int
    retryable: bool
    help: str


CODES: Mapping[str, ErrorKind] = {
    "INVALID_REQUEST": ErrorKind(
        400, False, "Correct the field named in the message and send again."
    ),
    "NOT_AUTHENTICATED": ErrorKind(
        401, False, "Send `Authorization: Bearer <api key>` with a live key."
    ),
    "NOT_PERMITTED": ErrorKind(403, False, "Ask an owner of the tenant for the permission named."),
    "NOT_FOUND": ErrorKind(404, False, "Check the id; only your own tenant's things can be seen."),
    "METHOD_NOT_ALLOWED": ErrorKind(405, False, "Use one of the methods in the Allow header."),
    "CONFLICT": ErrorKind(409, False, "Read the current state, then decide again."),
    "REQUEST_TOO_LARGE": ErrorKind(413, False, "Send a smaller body."),
    "IDEMPOTENCY_CONFLICT": ErrorKind(
        422, False, "Use a new Idempotency-Key for a different request."
    ),
    "ORDER_DENIED": ErrorKind(
        422, False, "We refused the order before sending it; the message says why."
    ),
    "ORDER_REJECTED": ErrorKind(
        422, False, "The exchange refused the order; the message is its own."
    ),
    "CREDENTIAL_REFUSED": ErrorKind(
        422, False, "Change the key at the exchange as the message says, then submit it again."
    ),
    "CREDENTIAL_SUSPENDED": ErrorKind(
        423, False, "Read the credential's `problem`, correct the key, then validate it again."
    ),
    "TRADING_HALTED": ErrorKind(423, False, "A kill switch is active; release it to trade again."),
    "RATE_LIMIT_EXCEEDED": ErrorKind(429, True, "Wait `retryAfter` seconds."),
    "INTERNAL": ErrorKind(500, False, "Report it with the correlation id."),
    "EXCHANGE_UNAVAILABLE": ErrorKind(
        503, True, "The exchange does not answer; try again shortly."
    ),
    "PRICE_UNAVAILABLE": ErrorKind(
        503, True, "There are too few good sources for a price; try again shortly."
    ),
    "PROVIDER_UNAVAILABLE": ErrorKind(
        503, True, "A service that this needs does not answer; try again shortly."
    ),
    "STORAGE_UNAVAILABLE": ErrorKind(
        503,
        True,
        "The records cannot be used now; the message says whether something may have been written.",
    ),
    "UNUSABLE_DATA": ErrorKind(
        500, False, "The data folder cannot be used; the message says what to do."
    ),
}


class ServiceError(Exception):
    """A refusal or failure that a person can act on; `code` is a row of CODES."""

    def __init__(
        self, message: str, code: str, *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def status_code(self) -> int:
        """The HTTP status of the code."""
        return CODES[self.code].status_code

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return CODES[self.code].retryable
