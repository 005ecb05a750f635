"""Our rows in DynamoDB's words: pure, requests and items out, records in.

A row is one item: `partition`, `sort`, `version`, `data` (JSON text, so that it comes back exactly
as it went in), `expires-at`, `write-id`, and `<index>-partition`, `<index>-sort` for each index
that files it. A row filed nowhere has no such attributes, and so costs that index nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trading_platform.storage.records import ABSENT, Check, Delete, Key, Put, Record
from trading_platform.storage.rows import Cursor, Prepared, Query, decode_data
from trading_platform.storage.tables import TABLES

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import (
        CreateTableInputTypeDef,
        DeleteItemInputTypeDef,
        QueryInputTypeDef,
        TransactWriteItemTypeDef,
        UpdateItemInputTypeDef,
    )

Item = Mapping[str, Any]
"""Attribute name -> {type: value}, as on the wire."""

WRITE_ID = "write-id"
EXPIRES_AT = "expires-at"

# One set of names serves all expressions; a request names only those it uses.
_NAMES = {
    "#p": "partition",
    "#s": "sort",
    "#v": "version",
    "#d": "data",
    "#e": EXPIRES_AT,
    "#w": WRITE_ID,
}
_LIVE = "(attribute_not_exists(#e) OR #e > :now)"
_GONE = "(attribute_not_exists(#p) OR #e <= :now)"


class ConditionFailed(Exception):
    """A condition did not hold. `items`: for each write of the request None, or the item found
    where its condition failed (empty when absent). `resent`: an earlier try may have been done.
    """

    def __init__(self, items: list[Item | None], *, resent: bool) -> None:
        super().__init__("a condition failed")
        self.items = items
        self.resent = resent


def item_key(key: Key) -> dict[str, dict[str, str]]:
    """The primary key of a row."""
    return {"partition": {"S": key.partition}, "sort": {"S": key.sort}}


def record_of(table: str, item: Item) -> Record:
    """The row an item holds."""
    expires_at = item.get(EXPIRES_AT)
    return Record(
        key=Key(item["partition"]["S"], item["sort"]["S"]),
        data=decode_data(item["data"]["S"]),
        version=int(item["version"]["N"]),
        indexes={
            index: Key(item[f"{index}-partition"]["S"], item[f"{index}-sort"]["S"])
            for index in TABLES[table]
            if f"{index}-partition" in item
        },
        expires_at=None if expires_at is None else int(expires_at["N"]),
    )


def version_of(item: Item | None, now_s: int) -> int:
    """The version reads see: an expired row is absent."""
    if not item or (EXPIRES_AT in item and int(item[EXPIRES_AT]["N"]) <= now_s):
        return ABSENT
    return int(item["version"]["N"])


def update(prefix: str, prepared: Prepared, write_id: str, now_s: int) -> "UpdateItemInputTypeDef":
    """A Put as one UpdateItem: only that can count versions without reading first."""
    put = prepared.write
    if not isinstance(put, Put):
        raise TypeError("only a Put is an update")
    names = {name: _NAMES[name] for name in ("#v", "#d", "#w")}
    values: dict[str, Any] = {":d": {"S": prepared.text}, ":w": {"S": write_id}}
    sets, removes = ["#d = :d", "#w = :w"], list[str]()
    if put.expect is None:
        sets.append("#v = if_not_exists(#v, :zero) + :one")
        values |= {":zero": {"N": "0"}, ":one": {"N": "1"}}
    else:
        sets.append("#v = :next")
        values[":next"] = {"N": str(put.expect + 1)}
    _set_expiry(put.record, names, values, sets, removes)
    _set_indexes(put, names, values, sets, removes)
    request: UpdateItemInputTypeDef = {
        "TableName": prefix + put.table,
        "Key": item_key(put.record.key),
        "UpdateExpression": f"SET {', '.join(sets)}"
        + (f" REMOVE {', '.join(removes)}" if removes else ""),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    condition = _condition(put.expect, now_s, names, values)
    if condition:
        request["ConditionExpression"] = condition
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return request


def delete(prefix: str, write: Delete) -> "DeleteItemInputTypeDef":
    """An unconditional Delete; with a condition it goes through `transaction_item`."""
    return {"TableName": prefix + write.table, "Key": item_key(write.key)}


def transaction_item(
    prefix: str, prepared: Prepared, write_id: str, now_s: int
) -> "TransactWriteItemTypeDef":
    """One write of a transaction."""
    write = prepared.write
    if isinstance(write, Put):
        change: Any = update(prefix, prepared, write_id, now_s)
        return {"Update": change}
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    condition = _condition(write.expect, now_s, names, values)
    body: Any = {"TableName": prefix + write.table, "Key": item_key(write.key)}
    if condition:
        body["ConditionExpression"] = condition
        body["ExpressionAttributeNames"] = names
        body["ExpressionAttributeValues"] = values
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"ConditionCheck": body} if isinstance(write, Check) else {"Delete": body}


def query_request(prefix: str, query: Query, now_s: int) -> "QueryInputTypeDef":
    """The first page of a query; it may return the row at `sort_to`, which the caller drops."""
    index = query.index
    names = {
        "#p": "partition" if index is None else f"{index}-partition",
        "#s": "sort" if index is None else f"{index}-sort",
        "#e": EXPIRES_AT,
    }
    values: dict[str, Any] = {":p": {"S": query.partition}, ":now": {"N": str(now_s)}}
    condition = f"#p = :p{_range(query, values)}"
    if "#s" not in condition:
        del names["#s"]
    request: QueryInputTypeDef = {
        "TableName": prefix + query.table,
        "KeyConditionExpression": condition,
        "FilterExpression": _LIVE,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ScanIndexForward": not query.newest_first,
        "ConsistentRead": index is None,
        "Limit": query.limit + 1,
    }
    if index is not None:
        request["IndexName"] = index
    if query.cursor is not None:
        request["ExclusiveStartKey"] = _start_key(query)
    return request


def cursor_at(last_key: Item, index: str | None) -> Cursor:
    """Where DynamoDB stopped, as our cursor."""
    key = Key(last_key["partition"]["S"], last_key["sort"]["S"])
    return Cursor(key.sort if index is None else last_key[f"{index}-sort"]["S"], key)


def table_request(prefix: str, table: str) -> "CreateTableInputTypeDef":
    """How to create one of our tables: on-demand, each index with all attributes."""
    parts = ["partition", "sort"]
    parts += [f"{index}-{part}" for index in TABLES[table] for part in ("partition", "sort")]
    request: CreateTableInputTypeDef = {
        "TableName": prefix + table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": part, "AttributeType": "S"} for part in parts],
        "KeySchema": _key_schema(""),
    }
    if TABLES[table]:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index,
                "KeySchema": _key_schema(f"{index}-"),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in TABLES[table]
        ]
    return request


def _key_schema(lead: str) -> Any:
    return [
        {"AttributeName": f"{lead}partition", "KeyType": "HASH"},
        {"AttributeName": f"{lead}sort", "KeyType": "RANGE"},
    ]


def _condition(
    expect: int | None, now_s: int, names: dict[str, str], values: dict[str, Any]
) -> str:
    if expect is None:
        return ""
    names["#e"] = EXPIRES_AT
    values[":now"] = {"N": str(now_s)}
    if expect == ABSENT:
        names["#p"] = "partition"
        return _GONE
    names["#v"] = "version"
    values[":expect"] = {"N": str(expect)}
    return f"#v = :expect AND {_LIVE}"


def _set_expiry(
    record: Record,
    names: dict[str, str],
    values: dict[str, Any],
    sets: list[str],
    removes: list[str],
) -> None:
    names["#e"] = EXPIRES_AT
    if record.expires_at is None:
        removes.append("#e")
    else:
        sets.append("#e = :e")
        values[":e"] = {"N": str(record.expires_at)}


def _set_indexes(
    put: Put, names: dict[str, str], values: dict[str, Any], sets: list[str], removes: list[str]
) -> None:
    for number, index in enumerate(TABLES[put.table]):
        filed = put.record.indexes.get(index)
        for part in ("partition", "sort"):
            name = f"{part[0]}{number}"
            names[f"#{name}"] = f"{index}-{part}"
            if filed is None:
                removes.append(f"#{name}")
            else:
                sets.append(f"#{name} = :{name}")
                values[f":{name}"] = {"S": getattr(filed, part)}


def _range(query: Query, values: dict[str, Any]) -> str:
    """DynamoDB takes one condition on the sort key; BETWEEN includes its upper end."""
    if query.sort_from:
        values[":from"] = {"S": query.sort_from}
    if query.sort_to is not None:
        values[":to"] = {"S": query.sort_to}
    if query.sort_from and query.sort_to is not None:
        return " AND #s BETWEEN :from AND :to"
    if query.sort_from:
        return " AND #s >= :from"
    return "" if query.sort_to is None else " AND #s < :to"


def _start_key(query: Query) -> Any:
    if query.cursor is None:
        return {}
    key = item_key(query.cursor.key)
    if query.index is None:
        return key
    filed = {
        f"{query.index}-partition": {"S": query.partition},
        f"{query.index}-sort": {"S": query.cursor.sort},
    }
    return key | filed
