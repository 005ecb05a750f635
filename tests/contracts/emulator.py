"""A DynamoDB emulator (ministack) as a process of its own, in an environment of its own."""

import http.client
import os
import socket
import subprocess
import time
from pathlib import Path

READY_TIMEOUT_S = 30.0
REPOSITORY = Path(__file__).parents[2]


def interpreter() -> Path | None:
    """The Python that has the emulator: $EMULATOR_PYTHON, else .venv-aws; None without one."""
    path = Path(os.environ.get("EMULATOR_PYTHON") or REPOSITORY / ".venv-aws/bin/python")
    if not path.exists():
        return None
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ministack') is None)"
    found = subprocess.run([path, "-c", probe], check=False, timeout=30)
    return path if found.returncode == 0 else None


class Emulator:
    """Starts on a free port of 127.0.0.1 and is ready when constructed."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._log = folder / "emulator.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "dynamodb",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "ministack"], env=environment, stdout=log, stderr=log
            )
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
                connection.request("GET", "/_ministack/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"the emulator is not ready: {self._tail()}") from None
            finally:
                connection.close()
            time.sleep(0.05)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
