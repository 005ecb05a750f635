"""A plain HTTP client of the platform's own API, for commands that act as a tenant."""

import http.client
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from trading_platform.kit.errors import CODES, ServiceError
from trading_platform.settings import PREFIX, default_data_folder

TIMEOUT_S = 30.0
DEMO_KEY_FILE = "demo-api-key"
KEY_BYTES_MAX = 256
_KEY = re.compile(r"[\x21-\x7e]+")
_HOW = (
    f"Set {PREFIX}API_KEY, or name a file with --api-key-file; "
    "`trading-platform api-key create` makes a key."
)


def api_key(file: Path | None) -> str:
    """From the file named, the environment, or the demo's own file; never from the command line."""
    variable = f"{PREFIX}API_KEY"
    if file is None and variable in os.environ:
        return _checked(os.environ[variable], f"the variable {variable}")
    file = file or default_data_folder() / DEMO_KEY_FILE
    try:
        with file.open("rb") as stream:
            content = stream.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise ServiceError(
            f"no API key: {file} cannot be read ({error.strerror}). {_HOW}", "NOT_AUTHENTICATED"
        ) from error
    return _checked(content.decode(errors="replace"), str(file))


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if len(text) > KEY_BYTES_MAX or not _KEY.fullmatch(key):
        raise ServiceError(
            f"{where} holds no API key: one is a single word that starts with tp_. {_HOW}",
            "NOT_AUTHENTICATED",
        )
    return key


class Client:
    """One tenant's view of a running platform."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._connection = _connection(url)
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
        try:
            data = None if body is None else json.dumps(body).encode()
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServiceError(
                f"{self._url} does not answer as a trading platform ({error}). "
                "Start one with `trading-platform demo`, or name its address with --url.",
                "PROVIDER_UNAVAILABLE",
                metadata={"unreachable": True},
            ) from error
        finally:
            self._connection.close()


def _connection(url: str) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in {"http", "https"} or not host or parts.path not in {"", "/"}:
            raise ValueError
        host.encode("idna")
        secure = parts.scheme == "https"
        maker = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return maker(host, port, timeout=TIMEOUT_S)
    except (ValueError, http.client.InvalidURL) as error:  # UnicodeError is a ValueError
        raise ServiceError(
            f"{url!r} is no address of a platform; --url looks like http://127.0.0.1:8080.",
            "INVALID_REQUEST",
        ) from error


def _problem(status: int, payload: Any) -> ServiceError:
    problem = payload if isinstance(payload, dict) else {}
    code = problem.get("code", "INTERNAL")
    message = problem.get("message") or f"the platform answered {status}"
    return ServiceError(message, code if code in CODES else "INTERNAL")
