"""What other accounts and other processes can learn of ours: tried by real processes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trading_platform.kit.errors import ServiceError
from trading_platform.kit.process import check_files, harden

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
NOBODY = 65534

WATCHED = """
import ctypes, os, sys
from trading_platform.kit.process import harden
if os.getuid() == 0:
    os.setuid({nobody})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a process of that account would start
if {hardened}:
    harden()
print("ready", flush=True)
sys.stdin.read()
"""

SPY = """
import os, sys
if os.getuid() == 0:
    os.setuid({nobody})
for name in ("environ", "mem", "maps"):
    try:
        open("/proc/{process_id}/" + name, "rb").read(1)
    except PermissionError:
        print(name, "refused")
    except OSError:
        print(name, "opened")
    else:
        print(name, "opened")
"""


def python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True
    )
    return done.stdout


def spied(folder: Path, *, hardened: bool) -> dict[str, str]:
    """What another process of the same account could open of a process."""
    watched = subprocess.Popen(
        [sys.executable, "-c", WATCHED.format(nobody=NOBODY, hardened=hardened)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert watched.stdout is not None
    try:
        assert watched.stdout.readline() == "ready\n"
        said = python(SPY.format(nobody=NOBODY, process_id=watched.pid), folder)
    finally:
        watched.communicate("", timeout=5)
    return dict(line.split() for line in said.splitlines())


@linux
def test_a_process_of_the_same_account_cannot_look_into_a_hardened_one(tmp_path: Path) -> None:
    assert spied(tmp_path, hardened=False)["environ"] == "opened"  # else this shows nothing
    assert spied(tmp_path, hardened=True) == {
        "environ": "refused",
        "mem": "refused",
        "maps": "refused",
    }


def test_a_hardened_process_and_its_children_dump_no_core(tmp_path: Path) -> None:
    code = """
import os, resource, subprocess, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
from trading_platform.kit.process import harden
harden()
child = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)
subprocess.run([sys.executable, "-c", child], check=True)
"""
    assert python(code, tmp_path) == "(0, 0)\n(0, 0)\n"


def test_what_a_hardened_process_writes_is_its_accounts_own(tmp_path: Path) -> None:
    code = """
import os
from trading_platform.kit.process import harden
os.umask(0)
harden()
open("file", "w").close()
os.mkdir("folder")
"""
    python(code, tmp_path)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


@linux
def test_a_hardened_process_still_reads_what_it_needs_of_itself(tmp_path: Path) -> None:
    """As process metrics would; the account is not root's, who may read everything."""
    code = f"""
import ctypes, os
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from trading_platform.kit.process import harden
if os.getuid() == 0:
    os.setuid({NOBODY})
harden()
registry = CollectorRegistry()
ProcessCollector(registry=registry)
print(generate_latest(registry).decode())
"""
    said = python(code, tmp_path)
    assert "process_resident_memory_bytes" in said
    assert "process_open_fds" in said


def test_a_system_that_refuses_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to lower maximum limit")

    monkeypatch.setattr("trading_platform.kit.process.resource.setrlimit", refuse)
    before = os.umask(0o022)
    try:
        with pytest.raises(ServiceError, match="protect its memory") as caught:
            harden()
    finally:
        os.umask(before)
    assert caught.value.code == "UNUSABLE_DATA"


def a_file(folder: Path, name: str, mode: int) -> Path:
    file = folder / name
    file.parent.mkdir(exist_ok=True, mode=0o700)
    file.write_text("x")
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o644, 0o666])
@pytest.mark.parametrize(
    "name", ["api-key-pepper", "demo-api-key", "keys/master-key.json", "what-nobody-knows"]
)
def test_a_key_file_that_others_can_read_stops_the_start(
    tmp_path: Path, name: str, mode: int
) -> None:
    file = a_file(tmp_path, name, mode)
    with pytest.raises(ServiceError, match=f"chmod go= {file}") as caught:
        check_files(tmp_path)
    assert caught.value.code == "UNUSABLE_DATA"
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_private_files_are_fine(tmp_path: Path) -> None:
    a_file(tmp_path, "api-key-pepper", 0o600)
    a_file(tmp_path, "keys/master-key.json", 0o400)
    check_files(tmp_path)


@pytest.mark.parametrize("name", ["records.sqlite", "records.sqlite-wal", "platform.lock"])
def test_files_without_keys_are_made_private(tmp_path: Path, name: str) -> None:
    file = a_file(tmp_path, name, 0o644)
    check_files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
