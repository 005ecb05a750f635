"""A KMS and Secrets Manager emulator (moto) as a process of its own, in an environment of its own.

Known gaps, each with what is done about it:
- moto does not refuse values over 65,536 bytes: we refuse them ourselves, and test that.
- moto does not refuse a disabled key or a principal without rights: those answers are served by a
  small HTTP server of the tests (test_aws_faults.py), with the errors as AWS documents them.
- moto has no quota: throttling is served the same way.
- Its own clock dates versions, so that order of creation is not looked at.
"""

import http.client
import os
import subprocess
import time
from pathlib import Path

from tests.contracts.emulator import REPOSITORY, _free_port

READY_TIMEOUT_S = 30.0


def interpreter() -> Path | None:
    """The Python that has moto: $EMULATOR_PYTHON, else .venv-aws; None without one."""
    path = Path(os.environ.get("EMULATOR_PYTHON") or REPOSITORY / ".venv-aws/bin/python")
    if not path.exists():
        return None
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('moto') is None)"
    found = subprocess.run([path, "-c", probe], check=False, timeout=30)
    return path if found.returncode == 0 else None


class MotoServer:
    """Starts on a free port of 127.0.0.1 and is ready when constructed."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._log = folder / "moto.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_SECRET_ACCESS_KEY": "emulator",
        }
        command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", "/moto-api/data.json")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    tail = self._log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"the emulator is not ready: {tail}") from None
            finally:
                connection.close()
            time.sleep(0.05)
