"""docs/errors.md, made from the table of codes: `python -m trading_platform.api.error_docs`."""

from trading_platform.api.app import TABLE
from trading_platform.api.openapi import codes_of
from trading_platform.kit.errors import CODES

_HEAD = """# Errors

Every refusal and failure of the API is a problem document (RFC 9457, `application/problem+json`):

| field | meaning |
|---|---|
| `code` | one of the codes below |
| `message` | what happened and what to do, in one sentence; `detail` says the same |
| `status` | the HTTP status |
| `retryable` | whether the same request may succeed later |
| `retryAfter` | whole seconds to wait, where known; also in the `Retry-After` header |
| `correlationId` | names this request in our logs; also in the `X-Correlation-Id` header |
| `metadata` | facts for programs, such as `orderId` |

An order whose outcome nobody knows is not an error: the answer is `202` with the status `UNKNOWN`,
and the order is looked up until its fate is known. It is never sent again.

This page is made from the table in `kit/errors.py` by `python -m trading_platform.api.error_docs`.

| code | HTTP | retryable | what to do | answered by |
|---|---|---|---|---|
"""
_EVERYWHERE = 12
"""A code that so many operations can answer is not listed operation by operation."""


def errors_page() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(code) for code in sorted(CODES, key=_order))


def _order(code: str) -> tuple[int, str]:
    return CODES[code].status_code, code


def _row(code: str) -> str:
    kind = CODES[code]
    where = [route.operation for route in TABLE if code in codes_of(route)]
    who = "most operations" if len(where) >= _EVERYWHERE else ", ".join(where) or "-"
    retryable = "yes" if kind.retryable else "no"
    return f"| `{code}` | {kind.status_code} | {retryable} | {kind.help} | {who} |\n"


if __name__ == "__main__":
    print(errors_page(), end="")
