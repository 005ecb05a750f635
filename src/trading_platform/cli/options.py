"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trading_platform.cli.client import Client

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


def group(text: str, epilog: str | None = None) -> typer.Typer:
    """A group of commands. Its help is plain text: drawn boxes cost a newcomer half a second."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=text,
        epilog=epilog,
    )


def client(url: str, key_file: Path | None) -> "Client":
    """A client for the tenant whose key is at hand."""
    from trading_platform.cli.client import Client, api_key

    return Client(url, api_key(key_file))
