"""Creating our DynamoDB tables, and noticing when those that are there do not fit."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.storage.dynamodb_calls import error_code
from trading_platform.storage.dynamodb_items import EXPIRES_AT, table_request
from trading_platform.storage.rows import unavailable
from trading_platform.storage.tables import TABLES

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TableDescriptionTypeDef

POLL_S = 0.5
POLLS_MAX = 240


async def ensure_tables(client: "DynamoDBClient", prefix: str, clock: Clock) -> None:
    """Create each table that is missing and wait until all can be used."""
    for table in TABLES:
        try:
            await client.create_table(**table_request(prefix, table))
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise unavailable(f"DynamoDB does not create {prefix}{table}: {error}") from error
    for table in TABLES:
        description = await _wait_until_active(client, prefix + table, clock)
        _check_indexes(table, description)
        await _expire(client, prefix + table)


async def _wait_until_active(
    client: "DynamoDBClient", name: str, clock: Clock
) -> "TableDescriptionTypeDef":
    for _ in range(POLLS_MAX):
        description = (await client.describe_table(TableName=name))["Table"]
        if description["TableStatus"] == "ACTIVE":
            return description
        await clock.sleep(POLL_S)
    raise unavailable(f"DynamoDB table {name} is not ready after {POLL_S * POLLS_MAX:.0f} s")


def _check_indexes(table: str, description: "TableDescriptionTypeDef") -> None:
    there = {index.get("IndexName") for index in description.get("GlobalSecondaryIndexes", [])}
    missing = [index for index in TABLES[table] if index not in there]
    if missing:
        raise ServiceError(
            f"DynamoDB table {description.get('TableName')} lacks the index {', '.join(missing)}."
            " Add it, or use another table prefix.",
            "UNUSABLE_DATA",
        )


async def _expire(client: "DynamoDBClient", name: str) -> None:
    state = await client.describe_time_to_live(TableName=name)
    if state["TimeToLiveDescription"].get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        return
    await client.update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT},
    )
