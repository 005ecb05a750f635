"""What the audit commands do with the records of this machine, or with a file."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.opening import open_records
from trading_platform.settings import default_data_folder
from trading_platform.storage.records import Records
from trading_platform.tenants import audit_chain
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.audit_chain import (
    PLATFORM_LOG,
    AuditAction,
    AuditEntry,
    Verification,
    Verifier,
)
from trading_platform.tenants.store import Tenants

Answer = TypeVar("Answer")
Row = dict[str, str | int | bool | None]
LINE_BYTES_MAX = 1 << 20
PAGE_SIZE = 500


def verify(
    data: Path | None, log: str | None, *, against: Path | None, file: Path | None
) -> list[Row]:
    """What was found in each log, as rows."""
    if file is not None:
        return [_row(_verify_file(file, log, against))]
    if against is not None:
        log, earlier = _read_earlier(against, log)
        return [_row(_ask(data, lambda records: _audit(records).verify(log, against=earlier)))]
    if log is not None:
        return [_row(_ask(data, lambda records: _verify_one(records, log)))]
    return [_row(found) for found in _ask(data, _verify_all)]


def export(data: Path | None, log: str) -> None:
    """Print a log; NOT_FOUND where there is none."""

    async def run(records: Records) -> int:
        count = 0
        async for entry in _audit(records).all_entries(log):
            print(audit_chain.line(entry))
            count += 1
        return count

    if not _ask(data, run):
        raise _no_such(log)


async def _verify_one(records: Records, log: str) -> Verification:
    found = await _audit(records).verify(log)
    if found.ok and not found.entries and await Tenants(records).find(log) is None:
        raise _no_such(log)
    return found


async def _verify_all(records: Records) -> list[Verification]:
    """The platform's log, and those of all tenants that exist or that it says were created."""
    audit = _audit(records)
    announced = {
        entry.target: None
        async for entry in audit.all_entries(PLATFORM_LOG)
        if entry.action == AuditAction.TENANT_CREATED
    }
    logs = dict.fromkeys([PLATFORM_LOG, *announced, *[each async for each in _tenant_ids(records)]])
    return [_missed(await audit.verify(log), announced=log in announced) for log in logs]


def _missed(found: Verification, *, announced: bool) -> Verification:
    """Not ok when a whole log is gone: each begins with the creation of its tenant."""
    if not announced or found.entries or not found.ok:
        return found
    return msgspec.structs.replace(
        found,
        ok=False,
        first_bad=1,
        reason="the platform's log says that this tenant was created, but its own log is empty: "
        "it was removed, or the creation was cut off",
    )


async def _tenant_ids(records: Records) -> AsyncIterator[str]:
    after: str | None = None
    while True:
        page, after = await Tenants(records).page(limit=PAGE_SIZE, after=after)
        for tenant in page:
            yield tenant.tenant_id
        if after is None:
            return


def _verify_file(file: Path, log: str | None, against: Path | None) -> Verification:
    entries = _entries(file)
    first = next(entries, None)
    if first is None:
        raise ServiceError(f"{file} holds no entries.", "INVALID_REQUEST")
    log = log or first.tenant_id
    earlier = None if against is None else _read_earlier(against, log)[1]
    verifier = Verifier(log, earlier)
    verifier.follow(first)
    for entry in entries:
        if verifier.failed:
            break
        verifier.follow(entry)
    return verifier.ended(None)


def _read_earlier(file: Path, log: str | None) -> tuple[str, dict[int, str]]:
    """Whose log an earlier export is of, and its hashes; it must be whole itself."""
    found = _verify_file(file, log, None)
    if not found.ok:
        raise ServiceError(f"{file} cannot be compared with: {found.reason}.", "INVALID_REQUEST")
    return found.tenant_id, {entry.sequence: entry.hash for entry in _entries(file)}


def _entries(file: Path) -> Iterator[AuditEntry]:
    number = 0
    try:
        with file.open("rb") as lines:
            while line := lines.readline(LINE_BYTES_MAX):
                number += 1
                yield audit_chain.read(line)
    except OSError as error:
        raise ServiceError(
            f"{file} cannot be read ({error.strerror}).", "INVALID_REQUEST"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServiceError(
            f"line {number} of {file} is no entry of an audit log.", "INVALID_REQUEST"
        ) from error


def _row(found: Verification) -> Row:
    return {
        "log": found.tenant_id,
        "ok": found.ok,
        "entries": found.entries,
        "hash": found.hash,
        "firstBad": found.first_bad,
        "reason": found.reason,
    }


def _no_such(log: str) -> ServiceError:
    return ServiceError(f"There is no audit log of {log[:40]!r}.", "NOT_FOUND")


def _audit(records: Records) -> AuditLog:
    return AuditLog(records, SystemClock())


def _ask(data: Path | None, act: Callable[[Records], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with open_records(data or default_data_folder()) as records:
            return await act(records)

    return asyncio.run(run())
