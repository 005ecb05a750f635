from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.platform import Api, Member, running_api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One API for the tests of a module; each test makes tenants of its own."""
    async with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def member(api: Api) -> Member:
    """A fresh ENTERPRISE tenant whose key may do everything."""
    return await api.member()
