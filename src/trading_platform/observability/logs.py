"""Structured logs in the requirement's format: one JSON object a line, or one readable line each
on a terminal.

`log.info("order submitted", service="order-manager", operation="submitOrder", duration_ms=145,
order_id="order-456")`: the fields that the format names stand at the top, all others go into
`metadata` in camelCase.
"""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from trading_platform.kit.imports import without

with without("rich"):  # only structlog's own console output uses it; it is a sixth of our start
    import structlog

from trading_platform.observability.redaction import clean, clean_text

_WIRE_LOGGERS = ("uvicorn", "websockets", "aiohttp", "botocore", "httpcore", "httpx", "openai")
"""At DEBUG these write down whole messages and headers, keys included."""
_TOP = ("correlation_id", "tenant_id", "service", "operation", "duration_ms")


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Put `correlation_id`, `tenant_id` ... on every line of this task and its children."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def create_log(
    service: str, *, stream: TextIO | None = None, human: bool | None = None, level: str = "INFO"
) -> Any:
    """A logger writing to `stream` (stderr); `human` None means: readable when it is a terminal."""
    target = stream or sys.stderr
    readable = target.isatty() if human is None else human
    logger = structlog.wrap_logger(
        structlog.PrintLogger(target),
        processors=[structlog.contextvars.merge_contextvars, _human if readable else _json],
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        cache_logger_on_first_use=True,
    )
    return logger.bind(service=service)


def adopt_library_logs(log: Any, level: str = "WARNING") -> None:
    """Send what libraries say through the `logging` module to `log`, in the same format."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _Forward):
            root.removeHandler(handler)
    root.addHandler(_Forward(log))
    root.setLevel(level)
    for name in _WIRE_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))


class _Forward(logging.Handler):
    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"operation": record.name, "exc_info": record.exc_info}
        self._log.log(record.levelno, record.getMessage(), **fields)


def _entry(level: str, fields: MutableMapping[str, Any], now: datetime) -> dict[str, Any]:
    """The requirement's object, in its order; `message` is ours."""
    message = clean_text(str(fields.pop("event", "")))
    error = _error_text(fields.pop("exc_info", None))
    top = {_camel(name): fields.pop(name, None) for name in _TOP}
    top["duration"] = top.pop("durationMs")
    metadata = clean({_camel(name): value for name, value in fields.items()})
    if error is not None:
        metadata["traceback"] = clean_text(error)
    return {
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "ERROR" if level == "exception" else level.upper(),
        **{name: clean(value) for name, value in top.items()},
        "message": message,
        "metadata": metadata,
    }


def _json(_: Any, level: str, fields: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(_entry(level, fields, datetime.now(UTC))).decode()


def _human(_: Any, level: str, fields: MutableMapping[str, Any]) -> str:
    return _readable(_entry(level, fields, datetime.now(UTC)))


def _readable(entry: Mapping[str, Any]) -> str:
    """`10:30:00.000 INFO  order-manager submitOrder: order submitted (145 ms) tenantId=... ...`"""
    metadata = dict(entry["metadata"])
    error = metadata.pop("traceback", None)
    who = " ".join(str(entry[name]) for name in ("service", "operation") if entry[name])
    took = "" if entry["duration"] is None else f" ({entry['duration']} ms)"
    named = {"tenantId": entry["tenantId"], "correlationId": entry["correlationId"], **metadata}
    rest = "".join(f" {name}={value}" for name, value in named.items() if value is not None)
    line = f"{entry['timestamp'][11:23]} {entry['level']:<7} {who}: {entry['message']}{took}{rest}"
    # Control characters in foreign text must not move the cursor or forge a second line.
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if error is None else f"{line}\n{error}"


def _error_text(exc_info: Any) -> str | None:
    if isinstance(exc_info, BaseException):
        return "".join(traceback.format_exception(exc_info))
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple) and exc_info[0] is not None:
        return "".join(traceback.format_exception(*exc_info))
    return None


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)
