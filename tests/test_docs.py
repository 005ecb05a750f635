"""The docs say what the code has: links, commands, API paths and make targets."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from trading_platform.api.app import TABLE
from trading_platform.cli.commands import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"(?:\.venv/bin/)?trading-platform((?: +[^`\n]+)?)")
_FENCED = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MAKE = re.compile(r"(?:`|^)make ([a-z][a-z-]*)", re.MULTILINE)
_PATH = re.compile(r"https?://127\.0\.0\.1:8080(/[^\s\"'`)]+)")
_INLINE_PATH = re.compile(r"`(/[a-z][^`\s]*)`")


def _text(page: Path) -> str:
    return page.read_text().replace("\\\n", " ")


def _commands(page: Path) -> Iterator[str]:
    """Each `trading-platform ...` in code, blocks or inline."""
    text = _text(page)
    fenced = _FENCED.findall(text)
    inline = re.findall(r"`([^`\n]+)`", _FENCED.sub("", text))
    for line in [*"\n".join(fenced).splitlines(), *inline]:
        found = _COMMAND.match(line.strip())
        if found:
            yield found.group(1).split(" #")[0].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_is_one_that_the_command_line_takes(page: Path) -> None:
    root = get_command(app)
    for line in _commands(page):
        words = shlex.split(line.replace("...", "x"))
        command, context = root, typer.Context(root, info_name="trading-platform")
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page.name}: {line}"
            command = command.commands[words.pop(0)]
            context = typer.Context(command, info_name=line, parent=context)
        if words:
            command.parse_args(context, words)  # raises what the command line would say


def test_readme_shows_commands_at_all() -> None:
    assert len(list(_commands(README))) >= 5


def test_every_api_path_in_the_readme_is_one_that_the_api_serves() -> None:
    served = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", row.path)) for row in TABLE]
    shown = {path.split("?")[0] for path in _PATH.findall(_text(README))}
    shown |= set(_INLINE_PATH.findall(_text(README)))
    assert len(shown) >= 4
    assert [path for path in sorted(shown) if not any(p.fullmatch(path) for p in served)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_MAKE.findall(_text(page))) <= targets
