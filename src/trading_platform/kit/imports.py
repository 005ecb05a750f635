"""Imports that do not drag in what nobody here uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(optional: str) -> Iterator[None]:
    """Within the block, importing the package `optional` fails as if it were not installed.

    For libraries that load a large optional one just because it is there. One that is loaded
    already stays.
    """
    if optional in sys.modules:
        yield
        return
    sys.modules[optional] = None  # type: ignore[assignment]  # documented: makes import raise
    try:
        yield
    finally:
        del sys.modules[optional]
