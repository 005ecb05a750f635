"""Run by test_storage_survives_kill: writes for ever and prints what was acknowledged.

Arguments: path, name of this writer, bytes the file may grow to (0: no limit). Each line says
`<sort>` once the row is acknowledged, or `refused <code>`.
"""

import asyncio
import resource
import sys
from pathlib import Path

from trading_platform.kit.errors import ServiceError
from trading_platform.storage.records import ABSENT, Key, Put, Record
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.storage.tables import IDEMPOTENCY, ORDERS

AT_ONCE = 32
REFUSALS_MAX = 5


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def write(records: SqliteRecords, name: str, lane: int) -> None:
    """Pairs of rows, each pair in one transaction, so that a half-written one would show."""
    refusals = number = 0
    while refusals < REFUSALS_MAX:
        number += 1
        sort = f"{lane:02}-{number:06}"
        order = Record(
            key=Key(name, sort),
            data={"pad": "x" * 700},
            indexes={"by-status": Key(f"{name}#OPEN", sort)},
        )
        twin = Record(key=Key(name, sort), data={})
        try:
            await records.transact(
                [
                    Put(table=ORDERS, record=order, expect=ABSENT),
                    Put(table=IDEMPOTENCY, record=twin, expect=ABSENT),
                ]
            )
        except ServiceError as error:
            refusals += 1
            say(f"refused {error.code}")
            continue
        say(sort)


async def main(path: str, name: str, bytes_max: str) -> None:
    records = await SqliteRecords.open(Path(path))
    if limit := int(bytes_max):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    await asyncio.gather(*(write(records, name, lane) for lane in range(AT_ONCE)))
    # Room again: the same process, without a restart, must take rows once more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await records.put(ORDERS, Record(key=Key(name, "zz-after"), data={}), expect=ABSENT)
    say("zz-after")
    await records.close()


asyncio.run(main(*sys.argv[1:]))
