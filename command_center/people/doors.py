"""The ways in: password and code, an enrolment link, a link that is good once.  Each is an entry of the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from command_center import audit
from command_center.answers import Denied
from command_center.audit import Act
from command_center.people import links, lockout, sessions, totp, users
from command_center.people.passwords import Passwords, judge
from command_center.people.users import User
from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.people.sealing import Seal
    from command_center.people.sessions import Caller, Kind, Session
    from command_center.people.settings import PeopleConfig
    from command_center.store import Store
    from telemetry.clock import Clock

log = structlog.get_logger()
_HOUR_MS = 3_600_000
NOBODY = "nobody"
"""Who is written down for an attempt under a login that does not exist: it may be a password typed in the wrong field."""


class Signing(msgspec.Struct, frozen=True):
    """What a person types to sign in."""

    login: str
    password: str
    code: str = ""


class Enrolment(msgspec.Struct, frozen=True):
    """What a person gives to enrol; ``login`` and ``name`` stand only for the first of all."""

    token: str
    password: str
    code: str = ""
    login: str = ""
    name: str = ""


class Doors:
    """Of one desk."""

    def __init__(self, config: PeopleConfig, store: Store, clock: Clock, issuer: str, seal: Seal) -> None:
        self._config, self._store, self._clock, self._issuer = config, store, clock, issuer
        self._seal = seal
        self._passwords = Passwords()

    async def sign_in(self, signing: Signing, caller: Caller) -> tuple[str, Session]:
        """Begin a session; raise :class:`Denied`, in the same time and words whatever was wrong."""
        async with self._store.change() as db:
            wait = await lockout.begin(db, signing.login, caller.address, self._clock.now_ms())
            user = await users.find(db, signing.login)
        if wait:
            raise _wait(wait)
        kept = user.password if user is not None and user.active else ""
        is_right = await self._passwords.verify(kept, signing.password)
        async with self._store.change() as db:
            now = self._clock.now_ms()
            user = await users.find(db, signing.login) if is_right else None
            step = (
                self._step(user, signing.code, now)
                if user and user.password == kept and user.active
                else None
            )
            if user is None or step is None:
                await self._refuse(db, signing.login, caller, now)
                begun = None
            else:
                await lockout.clear(db, signing.login, caller.address)
                await users.save(db, msgspec.structs.replace(user, totp_step=step))
                begun = await self._begin(
                    db, "person", user.login, Act(user.name, caller.address), caller, now
                )
        if begun is None:
            raise Denied(401, "登录名、密码或动态码不正确", "the login, the password or the code is wrong")
        return begun

    async def open(self, token: str) -> dict[str, Any]:
        """Return what the enrolment page shows: whose it is, and the secret for the authenticator."""
        async with self._store.change() as db:
            link = await links.find(db, token, self._clock.now_ms(), "first", "enrol")
            secret = self._opened(link.totp, sessions.hash_of(token)) or totp.new_secret()
            await links.show(db, token, self._seal.close(secret, sessions.hash_of(token)))
            user = await users.find(db, link.login)
        told: dict[str, Any] = {
            "first": link.kind == "first", "login": link.login, "name": user.name if user else "",
            "second_factor": self._config.second_factor, "secret": "", "picture": "",
        }  # fmt: skip
        if self._config.second_factor:
            uri = totp.address(secret, link.login or "admin", self._issuer)
            told |= {"secret": secret, "picture": totp.picture(uri)}
        return told

    async def enrol(self, enrolment: Enrolment, caller: Caller) -> tuple[str, Session]:
        """Set a person's password and second factor by a link, use it up and begin a session.

        Raises :class:`Refused` for a link that is not good, a password that is not, or a wrong code.
        """
        async with self._store.read() as db:
            link = await links.find(db, enrolment.token, self._clock.now_ms(), "first", "enrol")
            user = await users.find(db, link.login)
        login, name = (user.login, user.name) if user else (enrolment.login.strip(), enrolment.name.strip())
        judge(enrolment.password, login, name, kinds=self._config.policy.kinds)
        password = await self._passwords.hash(enrolment.password)
        async with self._store.change() as db:
            now = self._clock.now_ms()
            link = await links.find(db, enrolment.token, now, "first", "enrol")
            act = Act(name, caller.address)
            shown = self._opened(link.totp, sessions.hash_of(enrolment.token))
            secret, step = self._second(shown, enrolment.code, now)
            await links.use(db, enrolment.token, now)
            if link.kind == "first":
                await users.add(db, User(login, name, ("security_admin",)), act, now)
            elif user is None or not user.active:
                raise Refused("the link is not good any more: this person is disabled")
            await users.change(
                db,
                login,
                act,
                now,
                "person.enrol",
                password=password,
                password_ms=now,
                totp=self._seal.close(secret, login),
                totp_step=step,
            )
            await sessions.end_all(db, login, now)
            return await self._begin(db, "person", login, act, caller, now)

    async def enter(self, token: str, caller: Caller) -> tuple[str, Session]:
        """Begin the session of a wall, or of the demo's operator, by a link that is good once."""
        async with self._store.change() as db:
            now = self._clock.now_ms()
            link = await links.find(db, token, now, "wall", "enter")
            await links.use(db, token, now)
            if link.kind == "wall":
                return await self._begin(db, "wall", link.login, Act(link.login, caller.address), caller, now)
            user = await users.find(db, link.login)
            if user is None or not user.active:
                raise Refused("the link is not good any more: this person is disabled")
            return await self._begin(db, "person", user.login, Act(user.name, caller.address), caller, now)

    async def change_password(self, login: str, old: str, new: str, caller: Caller) -> None:
        """Set a new password for who knows the old one; all sessions of his end."""
        judge(new, login, kinds=self._config.policy.kinds)
        if new == old:
            raise Refused("password: the new one is the old one")
        async with self._store.change() as db:
            wait = await lockout.begin(db, login, caller.address, self._clock.now_ms())
            user = await users.find(db, login)
        if wait:
            raise _wait(wait)
        if user is None or not await self._passwords.verify(user.password, old):
            async with self._store.change() as db:
                act = Act(user.name if user else NOBODY, caller.address)
                await audit.write(db, self._clock.now_ms(), act, "person.password", login, result="refused")
            raise Denied(403, "原密码不正确", "the old password is wrong")
        judge(new, user.name)
        password = await self._passwords.hash(new)
        async with self._store.change() as db:
            now = self._clock.now_ms()
            await lockout.clear(db, login, caller.address)
            await users.change(
                db,
                login,
                Act(user.name, caller.address),
                now,
                "person.password",
                password=password,
                password_ms=now,
            )
            await sessions.end_all(db, login, now)

    async def _begin(
        self, db: AsyncConnection, kind: Kind, login: str, act: Act, caller: Caller, now: int
    ) -> tuple[str, Session]:
        lasts_ms = (
            self._config.wall_days * 24 * _HOUR_MS if kind == "wall" else self._config.longest_h * _HOUR_MS
        )
        alone = kind == "person" and self._config.policy.one_session
        ended = await sessions.end_all(db, login, now) if alone else 0
        key, session = await sessions.begin(db, kind, login, caller, now, int(lasts_ms))
        after = {"session": session.id, "kind": kind} | ({"ended": ended} if ended else {})
        await audit.write(db, now, act, "session.begin", login, after=after)
        return key, session

    async def _refuse(self, db: AsyncConnection, login: str, caller: Caller, now: int) -> None:
        target = login if await users.find(db, login) else NOBODY
        await audit.write(db, now, Act(NOBODY, caller.address), "session.begin", target, result="refused")

    def _step(self, user: User, code: str, now: int) -> int | None:
        """Return the step of the code, or None when it is no good; without a second factor any."""
        if not user.totp:
            return None if self._config.second_factor else user.totp_step
        secret = self._opened(user.totp, user.login)
        return totp.match(secret, code.replace(" ", ""), now, user.totp_step) if secret else None

    def _opened(self, sealed: str, whose: str) -> str:
        try:
            return self._seal.open(sealed, whose)
        except Malformed as error:  # changed since the start, by somebody who is not the centre
            log.error("secret_unreadable", problem=str(error))
            return ""

    def _second(self, secret: str, code: str, now: int) -> tuple[str, int]:
        if not self._config.second_factor:
            return "", 0
        step = totp.match(secret, code.replace(" ", ""), now, 0) if secret else None
        if step is None:
            raise Refused("code: wrong; the telephone's clock must be right")
        return secret, step


def _wait(ms: int) -> Denied:
    seconds = -(-ms // 1000)
    return Denied(
        429, f"尝试次数过多，请 {seconds} 秒后再试", f"too many attempts; try again in {seconds} s", after_s=seconds
    )  # fmt: skip
