"""A real Valkey for a whole module."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trading_platform.cache.link import Link
from trading_platform.cache.valkey import EmbeddedValkey, start_embedded


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tp-test-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[EmbeddedValkey]:
    running = asyncio.run(start_embedded(folder / "valkey"))
    yield running
    asyncio.run(running.close())


@pytest.fixture
async def link(server: EmbeddedValkey) -> AsyncIterator[Link]:
    opened = Link(server.url)
    await opened.call("FLUSHALL")
    yield opened
    await opened.close()
