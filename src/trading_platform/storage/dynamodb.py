"""Records in DynamoDB: one table each, with a common name prefix.

1. Every write that depends on a version carries the condition itself: DynamoDB decides, not we.
2. A write whose answer was lost is known again by its `write-id` (single puts) or its
   ClientRequestToken (transactions), so a retry is never taken for somebody else's conflict.
3. Reads of a table are strongly consistent; reads of an index may lag.
4. Expired rows are filtered on every read: DynamoDB itself removes them days later.

aiobotocore is imported when a store is opened: it takes more than a second.
"""

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from trading_platform.kit.clock import Clock, SystemClock
from trading_platform.storage import dynamodb_items as items
from trading_platform.storage.records import ABSENT, Delete, Key, Page, Put, Record, Write
from trading_platform.storage.rows import (
    Prepared,
    Query,
    check_key,
    check_table,
    conflict,
    cursor_of,
    prepare,
    prepare_query,
    unavailable,
)

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

    from trading_platform.storage.dynamodb_calls import Calls

ROUNDS_MAX = 50  # requests behind one page, when most of what they pass is expired
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 2.0


class DynamoDBRecords:
    """The Records port on DynamoDB; credentials come from the standard AWS chain."""

    def __init__(
        self,
        client: "DynamoDBClient",
        calls: "Calls",
        prefix: str,
        clock: Clock,
        resources: AsyncExitStack,
    ) -> None:
        self._client = client
        self._calls = calls
        self._prefix = prefix
        self._clock = clock
        self._resources = resources

    @classmethod
    async def open(
        cls,
        *,
        region: str,
        table_prefix: str = "",
        endpoint_url: str | None = None,
        clock: Clock | None = None,
    ) -> "DynamoDBRecords":
        """Connect; `endpoint_url` for an emulator or a VPC endpoint."""
        try:
            from aiobotocore.config import AioConfig
            from aiobotocore.session import get_session
        except ImportError as error:
            raise unavailable(
                "DynamoDB needs the extra `aws`: install trading-platform[aws]."
            ) from error
        from trading_platform.storage.dynamodb_calls import IN_FLIGHT_MAX, Calls

        config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=IN_FLIGHT_MAX,
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            tcp_keepalive=True,
        )
        resources = AsyncExitStack()
        client = await resources.enter_async_context(
            get_session().create_client(
                "dynamodb", region_name=region, endpoint_url=endpoint_url, config=config
            )
        )
        clock = clock or SystemClock()
        return cls(client, Calls(clock), table_prefix, clock, resources)

    async def ensure_tables(self) -> None:
        """Create the tables that are missing (local and development; elsewhere a template does)."""
        from trading_platform.storage.dynamodb_tables import ensure_tables

        await ensure_tables(self._client, self._prefix, self._clock)

    async def get(self, table: str, key: Key) -> Record | None:
        """The row, or None when absent or expired."""
        check_table(table)
        check_key(key)
        answer = await self._calls.run(
            lambda: self._client.get_item(
                TableName=self._prefix + table, Key=items.item_key(key), ConsistentRead=True
            )
        )
        item = answer.get("Item")
        if item is None or not items.version_of(item, self._now_s()):
            return None
        return items.record_of(table, item)

    async def put(self, table: str, record: Record, *, expect: int | None) -> Record:
        """Write one row; returns it with its new version."""
        (prepared,) = prepare([Put(table=table, record=record, expect=expect)])
        write_id = secrets.token_hex(16)
        request = items.update(self._prefix, prepared, write_id, self._now_s())
        request["ReturnValues"] = "UPDATED_NEW"
        try:
            answer = await self._calls.run(lambda: self._client.update_item(**request), writes=True)
        except items.ConditionFailed as failed:
            version = self._settle_put(prepared.write, failed, write_id)
            return msgspec.structs.replace(record, version=version)
        version = int(answer["Attributes"]["version"]["N"])
        return msgspec.structs.replace(record, version=version)

    async def delete(self, table: str, key: Key, *, expect: int | None) -> None:
        """Remove one row; removing what is absent is fine when `expect` is None."""
        write = Delete(table=table, key=key, expect=expect)
        if expect is not None:
            await self.transact([write])  # only a transaction's token survives a lost answer
            return
        prepare([write])
        request = items.delete(self._prefix, write)
        await self._calls.run(lambda: self._client.delete_item(**request), writes=True)

    async def transact(self, writes: Sequence[Write]) -> None:
        """Do all writes or none; at most 100, no row twice."""
        prepared = prepare(writes)
        token, now_s = secrets.token_hex(16), self._now_s()
        changes = [items.transaction_item(self._prefix, each, token, now_s) for each in prepared]
        try:
            await self._calls.run(
                lambda: self._client.transact_write_items(
                    TransactItems=changes, ClientRequestToken=token
                ),
                writes=True,
            )
        except items.ConditionFailed as failed:
            raise self._first_conflict(prepared, failed) from failed

    async def query(
        self,
        table: str,
        partition: str,
        *,
        index: str | None = None,
        sort_from: str = "",
        sort_to: str | None = None,
        newest_first: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> Page:
        """Rows of one partition with sort_from <= sort < sort_to, in order; limit <= 1000."""
        asked = prepare_query(
            table,
            partition,
            index=index,
            sort_from=sort_from,
            sort_to=sort_to,
            newest_first=newest_first,
            limit=limit,
            after=after,
        )
        if asked.is_empty:
            return Page(records=(), after=None)
        return await self._page(asked)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._resources.aclose()

    async def _page(self, query: Query) -> Page:
        """Ask until the page is full: filtering and the 1 MB page leave DynamoDB's own short."""
        request: Any = items.query_request(self._prefix, query, self._now_s())
        records: list[Record] = []
        for _ in range(ROUNDS_MAX):
            answer = await self._calls.run(lambda: self._client.query(**request))
            found = [items.record_of(query.table, item) for item in answer["Items"]]
            records += [record for record in found if _in_range(query, record)]
            if len(records) > query.limit:
                kept = tuple(records[: query.limit])
                return Page(records=kept, after=cursor_of(kept[-1], query.index).encode())
            if "LastEvaluatedKey" not in answer:
                return Page(records=tuple(records), after=None)
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        after = items.cursor_at(answer["LastEvaluatedKey"], query.index).encode()
        return Page(records=tuple(records), after=after)

    def _settle_put(self, write: Write, failed: items.ConditionFailed, write_id: str) -> int:
        """The version our own earlier try gave the row, or the refusal that is true."""
        found = failed.items[0] or {}
        version = items.version_of(found, self._now_s())
        if failed.resent:
            if found.get(items.WRITE_ID, {}).get("S") == write_id:
                return int(found["version"]["N"])
            if version == ABSENT or version > (write.expect or 0) + 1:
                # Our earlier try may have won and been overwritten or removed since.
                raise unavailable(
                    "DynamoDB lost an answer and the row has moved on since;"
                    " read it before you decide again.",
                    maybe_written=True,
                ) from failed
        raise conflict(write, version) from failed

    def _first_conflict(
        self, prepared: Sequence[Prepared], failed: items.ConditionFailed
    ) -> Exception:
        for (write, _), item in zip(prepared, failed.items, strict=True):
            if item is not None:
                return conflict(write, items.version_of(item, self._now_s()))
        return failed

    def _now_s(self) -> int:
        return self._clock.time_ns() // 1_000_000_000


def _in_range(query: Query, record: Record) -> bool:
    """DynamoDB's BETWEEN includes the upper end, ours does not."""
    return query.sort_to is None or cursor_of(record, query.index).sort < query.sort_to
