"""Seeded secrets go through the whole platform, and nothing that comes out shows one of them."""

import json
import os
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.canary.haystack import leaks
from tests.canary.locals_seen import locals_seen
from tests.canary.scenes import Outside, audit_hay, hand_in, knock_everywhere, settle, shred
from trading_platform.demo import open_demo
from trading_platform.kit.clock import SystemClock
from trading_platform.observability.logs import adopt_library_logs, create_log
from trading_platform.settings import Settings
from trading_platform.simulation.credentials import simulated_keys
from trading_platform.storage.sqlite import SqliteRecords
from trading_platform.tenants import keys
from trading_platform.tenants.audit import AuditLog
from trading_platform.tenants.model import Permission, Tier

ID_END = len(keys.LEAD) + 10
"""Where the id of an API key, which is no secret, ends."""


def a_pem() -> str:
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def files_hay(data: Path) -> dict[str, bytes]:
    """Every file but those that are there to hold keys, and the simulated exchanges' own."""
    kept = {"keys", "api-key-pepper", "demo-api-key", "simulation"}
    return {
        f"file {file.relative_to(data)}": file.read_bytes()
        for file in data.rglob("*")
        if file.is_file() and file.relative_to(data).parts[0] not in kept
    }


async def test_nothing_that_comes_out_of_the_platform_shows_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, log_text = tmp_path / "data", StringIO()
    log = create_log("canary", stream=log_text, level="DEBUG")
    adopt_library_logs(log, level="DEBUG")
    in_a_path, unknown, broken = (
        keys.new_key().text,
        keys.new_key().text,
        "tp_live_" + "Canary0123456789" * 3,
    )
    pem, wrong = a_pem(), "canary/wrong+secret" * 3
    settings = Settings(data=data, port=0, log_level="DEBUG")
    async with (
        open_demo(settings, log, speed=1.0) as demo,
        aiohttp.ClientSession() as session,
    ):
        with locals_seen() as seen:
            tenants = demo.platform.tenants
            other = await tenants.create_tenant("Other", Tier.ENTERPRISE)
            _, other_key = await tenants.create_api_key(
                other.tenant_id, name="all", permissions=[Permission.ADMIN]
            )
            _, weak_key = await tenants.create_api_key(
                other.tenant_id, name="weak", permissions=[Permission.READ]
            )
            revoked, revoked_key = await tenants.create_api_key(other.tenant_id, name="gone")
            await tenants.revoke_api_key(other.tenant_id, revoked.key_id)
            theirs = simulated_keys(other.tenant_id)
            outside = Outside(demo.platform.url, session)
            await hand_in(outside, other_key, theirs, [pem, wrong])
            await knock_everywhere(
                outside, [demo.api_key, weak_key, unknown, broken, revoked_key, pem.split("\n")[1]]
            )
            await outside.stream(other_key, {"subscribe": ["BTC-USD"]})
            await outside.stream(other_key, f"not json {wrong}")
            await shred(outside, other_key)
            await outside.call("GET", f"/v1/prices/{in_a_path}", other_key)
            for query in (f"apiKey={other_key}", f"apiKey={wrong}&apiKey={wrong}", wrong):
                await outside.call("GET", f"/v1/orders?{query}", other_key)
            await tenants.suspend_tenant(other.tenant_id)
            await outside.call("GET", "/v1/orders", other_key)
            await outside.call("GET", "/metrics", None)
            await settle()
        records = await SqliteRecords.open(data / "records.sqlite")
        audit = await audit_hay(
            AuditLog(records, SystemClock()), ["platform", demo.tenant.tenant_id, other.tenant_id]
        )
        await records.close()
    printed = capfd.readouterr()
    demos = simulated_keys(demo.tenant.tenant_id)
    secrets = {
        "the demo's API key": demo.api_key[ID_END:],
        "an API key": other_key[ID_END:],
        "a weak API key": weak_key[ID_END:],
        "a revoked API key": revoked_key[ID_END:],
        "an unknown API key": unknown[ID_END:],
        "a broken API key": broken[ID_END:],
        "an exchange secret": theirs.api_secret,
        "a passphrase": theirs.passphrase,
        "the demo's exchange secret": demos.api_secret,
        "the demo's passphrase": demos.passphrase,
        "a private key": pem.split("\n")[1],
        "a wrong secret": wrong,
        "the pepper": (data / "api-key-pepper").read_bytes(),
        "the master key": json.loads((data / "keys" / "master-key.json").read_bytes())[
            "machine_key"
        ],
    }
    given_out = {
        "stdout": printed.out.encode(),
        "stderr": printed.err.encode(),
        "log": log_text.getvalue().encode(),
        "environment": repr(dict(os.environ)).encode(),
        **outside.hay(),
        **audit,
        **files_hay(data),
    }
    # Whoever writes a key into an address has it in every local variable that holds the path.
    found = leaks(given_out, {"an API key in a path": in_a_path[ID_END:]})
    assert seen.errors > 1000, "the paths were not walked"
    assert len(log_text.getvalue()) > 10_000, "nothing was logged"
    found += leaks({**given_out, **seen.hay()}, secrets)
    assert not found, f"{len(found)} leaks\n" + "\n".join(found)
