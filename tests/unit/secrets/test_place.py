"""What an operator may write for the place of secrets, and where a passphrase is read from."""

from pathlib import Path

import pytest

from tests.unit.secrets.parts import a_vault
from trading_platform.kit.clock import ManualClock
from trading_platform.kit.errors import ServiceError
from trading_platform.secrets.model import Secret
from trading_platform.secrets.opening import open_local_vault
from trading_platform.secrets.place import Place, parse_place
from trading_platform.settings import secrets_place
from trading_platform.storage.sqlite import SqliteRecords


def test_places_are_told_apart() -> None:
    assert parse_place("local", passphrase=Secret("p")) == Place(passphrase=Secret("p"))
    kms = parse_place("kms:arn:aws:kms:eu-central-1:1:key/2", region="eu-central-1")
    assert (kms.kind, kms.key_id) == ("kms", "arn:aws:kms:eu-central-1:1:key/2")
    assert parse_place("secrets-manager").kind == "secrets-manager"
    for wrong in ("", "kms", "kms:", "local:x", "vault", "LOCAL"):
        with pytest.raises(ServiceError, match="is no place"):
            parse_place(wrong)


def test_the_environment_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("correct horse\nmore\n")
    file.chmod(0o600)
    found = secrets_place({"TRADING_PLATFORM_PASSPHRASE_FILE": str(file)})
    assert found == Place(passphrase=Secret("correct horse"))
    assert "correct horse" not in repr(found)
    aws = {"TRADING_PLATFORM_SECRETS": "kms:alias/x", "AWS_REGION": "eu-west-1"}
    assert secrets_place(aws) == Place(kind="kms", key_id="alias/x", region="eu-west-1")
    assert secrets_place({}) == Place()


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [("", 0o600, "is empty"), ("\n", 0o600, "is empty"), ("x", 0o644, "other accounts")],
)
def test_a_passphrase_file_that_is_empty_or_open_to_others_is_refused(
    tmp_path: Path, content: str, mode: int, fault: str
) -> None:
    file = tmp_path / "passphrase"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ServiceError, match=fault):
        secrets_place({"TRADING_PLATFORM_PASSPHRASE_FILE": str(file)})
    file.unlink()
    with pytest.raises(ServiceError, match="cannot be read"):
        secrets_place({"TRADING_PLATFORM_PASSPHRASE_FILE": str(file)})


async def test_the_vault_of_a_machine_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    async with a_vault(tmp_path, "correct horse"):
        pass
    records = await SqliteRecords.open(tmp_path / "records.db")
    with pytest.raises(ServiceError, match="is wrong") as caught:
        await open_local_vault(records, tmp_path, ManualClock(), passphrase=Secret("battery"))
    assert "battery" not in caught.value.message
    await records.close()
