"""Who does not use DynamoDB does not pay for it."""

import subprocess
import sys

import pytest

PROBE = """
import sys
{blocked}
import asyncio
from trading_platform.storage.dynamodb import DynamoDBRecords
loaded = [name for name in sys.modules if name.split(".")[0] in ("botocore", "aiobotocore")]
assert {expected}, loaded
try:
    asyncio.run(DynamoDBRecords.open(region="eu-central-1"))
except Exception as error:
    print(getattr(error, "code", error), error)
"""


@pytest.mark.parametrize(
    ("blocked", "expected", "printed"),
    [
        ("", "not loaded", ""),
        (
            "sys.modules['aiobotocore'] = None",
            "loaded == ['aiobotocore']",
            "STORAGE_UNAVAILABLE DynamoDB needs the extra `aws`: install trading-platform[aws].",
        ),
    ],
    ids=["installed", "not installed"],
)
def test_the_aws_sdk_is_loaded_only_when_a_store_is_opened(
    blocked: str, expected: str, printed: str
) -> None:
    probe = PROBE.format(blocked=blocked, expected=expected)
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == printed
