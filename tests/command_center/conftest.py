"""The desk over each database there is, on a clock that a test moves."""

import aiohttp
import pytest
from desks import HandClock, opened
from persons import BEARER
from worlds import world_in


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/desk.db"
    return f"postgresql+psycopg://{request.getfixturevalue('postgres').create()}"


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
async def desk(url, clock):
    async with opened(url, clock) as one:
        yield one


@pytest.fixture
async def http():
    """A machine that may whatever a machine may."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), headers=BEARER) as session:
        yield session


@pytest.fixture
async def world(tmp_path, clock):
    """The whole API, one signed-in browser a role; ``world.ask(method, path, who)``."""
    async with world_in(tmp_path, clock) as one:
        yield one
