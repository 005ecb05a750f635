"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from trading_platform.cli.client import Client, api_key

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of this platform's data (default: a per-user one)."),
]
Url = Annotated[
    str,
    typer.Option("--url", envvar="TRADING_PLATFORM_URL", help="Where the platform's API is."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File that holds the API key (else TRADING_PLATFORM_API_KEY, else the demo's).",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8080"


def client(url: str, key_file: Path | None) -> Client:
    """A client for the tenant whose key is at hand."""
    return Client(url, api_key(key_file))
