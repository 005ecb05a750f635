"""What a traceback with local variables would show, of every error that passes a frame of ours."""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_NO_ERRORS = (StopIteration, StopAsyncIteration, GeneratorExit)
"""How Python ends what it runs through."""
SRC = str(Path(__file__).parents[2] / "src" / "trading_platform")
ELSEWHERE = str(Path(SRC) / "simulation")
"""The exchanges' side of the line: it knows the keys, as real exchanges do."""


class LocalsSeen:
    """The representations of all local variables in frames that an error passed through."""

    def __init__(self, root: str = SRC) -> None:
        self._root = root
        self.by_place: dict[str, set[str]] = {}
        self.errors = 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(self._root) or name.startswith(ELSEWHERE):
            return None
        frame.f_trace_lines = False
        return self._local

    def _local(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "exception" and not issubclass(arg[0], _NO_ERRORS):
            self.errors += 1
            place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
            seen = self.by_place.setdefault(place, set())
            seen.update(_as_traceback_shows(frame))
        return self._local

    def hay(self) -> dict[str, bytes]:
        """Place -> all that would be shown there."""
        return {
            f"locals of {place}": "\n".join(texts).encode()
            for place, texts in self.by_place.items()
        }


def _as_traceback_shows(frame: FrameType) -> list[str]:
    summary = traceback.StackSummary.extract(
        iter([(frame, frame.f_lineno)]), capture_locals=True, lookup_lines=False
    )
    return [f"{name}={value}" for name, value in (summary[0].locals or {}).items()]


@contextmanager
def locals_seen() -> Iterator[LocalsSeen]:
    """Watch all threads that start, and frames that are entered, while this is open."""
    seen = LocalsSeen()
    before = sys.gettrace()
    sys.settrace(seen)
    threading.settrace(seen)
    try:
        yield seen
    finally:
        sys.settrace(before)
        threading.settrace(None)
