"""The house stands: floors, empty package faces, pure files that do no I/O."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "trading_platform"
IO_MODULES = {
    "asyncio",
    "socket",
    "sqlite3",
    "aiohttp",
    "redis",
    "picows",
    "os",
    "subprocess",
    "time",
}
PURE = (
    "orders/machine.py",
    "orders/checks.py",
    "orders/evidence.py",
    "orders/events.py",
    "prices/aggregate.py",
    "safety/switch.py",
    "limits/window.py",
    "simulation/matching.py",
    "simulation/book.py",
    *(path.relative_to(SRC).as_posix() for path in (SRC / "market").glob("*.py")),
    *(path.relative_to(SRC).as_posix() for path in (SRC / "exchanges").glob("binance*.py")),
    *(path.relative_to(SRC).as_posix() for path in (SRC / "exchanges").glob("coinbase*.py")),
)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_arrow_points_down() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], capture_output=True, text=True, cwd=SRC.parent.parent)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", PURE)
def test_a_pure_file_imports_nothing_that_does_io(name: str) -> None:
    assert not _imports(SRC / name) & IO_MODULES


def test_package_faces_are_empty() -> None:
    assert [path for path in SRC.rglob("__init__.py") if path.read_text().strip()] == []
