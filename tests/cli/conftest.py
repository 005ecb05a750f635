"""One running demo for all tests of a module that do not stop it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.processes import Ended, Program, run, run_json


class Demo:
    """A demo that runs, and the command line as its tenant."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.data = data
        self.program = Program(
            ["demo", "--json", "--port", "0", "--data", str(data)],
            folder,
        )
        self.line = self.program.line()
        said = json.loads(self.line)
        self.url, self.tenant_id, self.api_key = said["url"], said["tenantId"], said["apiKey"]

    @property
    def variables(self) -> dict[str, str]:
        """How a command finds this demo."""
        return {"TRADING_PLATFORM_URL": self.url, "TRADING_PLATFORM_API_KEY": self.api_key}

    def run(self, *arguments: str) -> Ended:
        """A command as the demo's tenant."""
        return run(*arguments, **self.variables)

    def run_json(self, *arguments: str) -> Any:
        """A command as the demo's tenant, with --json."""
        return run_json(*arguments, **self.variables)

    def get(self, path: str) -> tuple[int, Any]:
        """(status, JSON) of the API."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None, intent: str = "") -> tuple[int, Any]:
        """(status, JSON) of the API."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        headers = {"Authorization": f"Bearer {self.api_key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if intent:
            headers["Idempotency-Key"] = intent
        try:
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    running = Demo(folder, folder / "data")
    yield running
    running.program.stop()
