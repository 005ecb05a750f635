"""A plain HTTP client of the platform's own API, for commands that act as a tenant."""

import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from trading_platform.kit.errors import CODES, ServiceError
from trading_platform.settings import PREFIX, default_data_folder

TIMEOUT_S = 30.0
DEMO_KEY_FILE = "demo-api-key"


def api_key(file: Path | None) -> str:
    """From the file named, the environment, or the demo's own file; never from the command line."""
    named = file or (None if f"{PREFIX}API_KEY" in os.environ else _demo_key())
    if named is None:
        return os.environ[f"{PREFIX}API_KEY"].strip()
    try:
        return named.read_text().strip()
    except OSError as error:
        raise ServiceError(
            f"no API key: {named} cannot be read. Set {PREFIX}API_KEY, or name a file with "
            "--api-key-file; `trading-platform api-key create` makes a key.",
            "NOT_AUTHENTICATED",
        ) from error


def _demo_key() -> Path:
    return default_data_folder() / DEMO_KEY_FILE


class Client:
    """One tenant's view of a running platform."""

    def __init__(self, url: str, key: str) -> None:
        self._url = urlsplit(url)
        self._key = key

    def call(self, method: str, path: str, body: Any = None, *, idempotency: bool = False) -> Any:
        """The JSON answer; a problem answer is raised as the ServiceError that it describes."""
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if idempotency:
            headers["Idempotency-Key"] = str(uuid4())
        status, payload = self._exchange(method, path, body, headers)
        if status >= 400:
            raise _problem(status, payload)
        return payload

    def _exchange(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        secure = self._url.scheme == "https"
        maker = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = maker(self._url.hostname or "", self._url.port, timeout=TIMEOUT_S)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServiceError(
                f"{self._url.geturl()} does not answer as a trading platform ({error}). "
                "Start one with `trading-platform demo`, or name its address with --url.",
                "PROVIDER_UNAVAILABLE",
                metadata={"unreachable": True},
            ) from error
        finally:
            connection.close()


def _problem(status: int, payload: Any) -> ServiceError:
    problem = payload if isinstance(payload, dict) else {}
    code = problem.get("code", "INTERNAL")
    message = problem.get("message") or f"the platform answered {status}"
    return ServiceError(message, code if code in CODES else "INTERNAL")
