"""How the command line speaks: tables for people, JSON for scripts, one sentence for a refusal."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trading_platform.kit.errors import ServiceError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_UNUSABLE_DATA = 4
EXIT_INTERRUPTED = 130

PIPE_WIDTH = 240

EXIT_CODES = """Exit codes: 0 done; 1 refused (the message says why); 2 wrong usage; 3 the platform
cannot be reached; 4 the data folder or port cannot be used; 130 interrupted."""


def say_json(value: Any) -> None:
    """One JSON document on one line."""
    print(json.dumps(value, default=str), flush=True)


def say_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """The named columns of the rows, or the sentence `empty`."""
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_shown(row.get(name)) for name in columns))
    # Into a pipe or a file nothing is cut off.
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def say(value: Any, *, as_json: bool, columns: Sequence[str], empty: str = "Nothing yet.") -> None:
    """Rows (or one row) in the form asked for."""
    if as_json:
        say_json(value)
        return
    say_table(value if isinstance(value, list) else [value], columns, empty=empty)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a ServiceError into its sentence on stderr and an exit code, once, at the edge."""
    try:
        yield
    except ServiceError as error:
        # Some reasons, such as SQLite's, come in several lines; scripts read one.
        sentence = " ".join(error.message.split())
        print(f"trading-platform: {sentence} [{error.code}]", file=sys.stderr)
        raise SystemExit(exit_code(error)) from error
    except BrokenPipeError:  # whoever read our output has left
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"trading-platform: {where}{error.strerror or error}. Check that it is there, that "
            "this account may use it, and that the disk is not full. [UNUSABLE_DATA]",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_UNUSABLE_DATA) from error
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def exit_code(error: ServiceError) -> int:
    """The exit code of a refusal."""
    if error.code == "UNUSABLE_DATA":
        return EXIT_UNUSABLE_DATA
    return EXIT_UNREACHABLE if error.metadata.get("unreachable") else EXIT_REFUSED
