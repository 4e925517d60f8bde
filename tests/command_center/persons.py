"""People of a desk, signed in: their sessions are written into its database, as signing in would."""

from contextlib import asynccontextmanager

import aiohttp

from command_center.audit import Act
from command_center.people import sessions, users
from command_center.people.rights import OF_PEOPLE_ONLY, RIGHTS
from command_center.people.sessions import Caller, hash_of
from command_center.people.users import User
from command_center.store import Store
from telemetry.clock import SystemClock

MACHINE = "yemai_key_of_the_tests"
BEARER = {"Authorization": f"Bearer {MACHINE}"}
DAY_MS = 86_400_000
MADE_BY = Act("tests")


def keys_line(people="session_per_minute = 1000000", per_minute=1_000_000):
    """The line of center.toml with a machine's key that may whatever a machine may, and more about ``people``."""
    rights = ", ".join(f'"{right}"' for right in sorted(RIGHTS - OF_PEOPLE_ONLY))
    return f'people = {{ {people and people + ", "}keys = [{{ name = "tests", sha256 = "{hash_of(MACHINE)}", rights = [{rights}], per_minute = {per_minute} }}] }}\n'


async def cookie_of(store, login, name, *roles, areas=(), now=None):
    """Add a person where there is none yet, begin a session, and return the cookie for it."""
    now = SystemClock().now_ms() if now is None else now
    async with store.change() as db:
        if await users.find(db, login) is None:
            await users.add(db, User(login, name, roles, areas, password="x", password_ms=now), MADE_BY, now)
        key, _ = await sessions.begin(db, "person", login, Caller("10.0.0.1", "tests"), now, DAY_MS)
    return f"yemai={key}"


@asynccontextmanager
async def signed_in(folder, login, name, *roles, areas=()):
    """A browser in which somebody is signed in at the desk under ``folder``."""
    async with Store(f"sqlite+aiosqlite:///{folder}/desk.db") as store:
        cookie = await cookie_of(store, login, name, *roles, areas=areas)
    headers = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
