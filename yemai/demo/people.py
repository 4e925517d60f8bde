"""Throw-away people of the demo: made anew at every start, with one password that lasts until the next."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from command_center import policies
from command_center.audit import Act
from command_center.people import contacts, links, sessions, users
from command_center.people.passwords import Passwords
from command_center.people.users import User
from command_center.store import Store
from telemetry.clock import SystemClock

if TYPE_CHECKING:
    from command_center.people.rights import Role
    from yemai.demo.plan import Plan

PEOPLE: tuple[tuple[str, str, tuple[Role, ...]], ...] = (
    ("operator", "演示值班员", ("operator", "dispatcher")),
    ("dispatcher", "演示调度员", ("dispatcher",)),
    ("engineer", "演示工程师", ("engineer",)),
    ("security", "演示安全管理员", ("security_admin",)),
    ("auditor", "演示审计员", ("auditor",)),
)
_BY = Act("demo")
_REASON = "演示：虚构的人员和地址 / demo: people and addresses that do not exist"


class Entrance(NamedTuple):
    """How to get in: a link that is good once, and the people's logins with their one password."""

    link: str
    logins: tuple[str, ...]
    password: str


async def make_people(plan: Plan) -> Entrance:
    """Give the desk its people, end their earlier sessions, and let the operator in by a link; vouch for everybody's addresses."""
    password, now = secrets.token_urlsafe(9), SystemClock().now_ms()
    kept = await Passwords().hash(password)
    async with Store(plan.desk_url) as store, store.change() as db:
        for login, name, roles in PEOPLE:
            if await users.find(db, login) is None:
                await users.add(db, User(login, name, roles), _BY, now)
            await users.change(db, login, _BY, now, "person.enrol", password=kept)
            await sessions.end_all(db, login, now)
        told = policies.load(plan.center.with_name("notify.yaml"))
        for contact in await contacts.everyone(db, told):
            if not contact.proven:
                await contacts.vouch(db, told, contact.person, contact.channel, _REASON, _BY, now)
        token = await links.issue(db, "enter", PEOPLE[0][0], now)
    logins = tuple(login for login, _, _ in PEOPLE)
    return Entrance(links.address(plan.page_url, "enter", token), logins, password)
