"""Who stands before the API: a person by his session's cookie, a wall by its own, a machine by its key.

=================  =====================================================================================
read               while the session lasts: a screen goes on showing alarms, whoever looks
all else           as long as the person was there within ``idle_min``; then the password is asked again
commands, public   who does them has signed in within ``prove_again_min`` (``PROVEN`` in ``rights.py``)
an old password    opens nothing but ``read`` and the way to a new one, where the profile lets passwords end
change by cookie   only from our own page: its Origin, or what the browser says in Sec-Fetch-Site
as often as        ``rates.py`` says: each session, each key, and each address where nobody is known
=================  =====================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_center.answers import Denied
from command_center.people import sessions, users
from command_center.people.rates import Rates, lane_of
from command_center.people.rights import ONLOOKING, PROVEN, Person, Right, address_of, rights_of
from command_center.people.sessions import SEEN_EVERY_MS, hash_of
from command_center.people.settings import rights_of_key
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.responses import Response

    from command_center.people.rates import Lane
    from command_center.people.sessions import Session
    from command_center.people.settings import PeopleConfig
    from command_center.store import Store
    from telemetry.clock import Clock

SAFE_METHODS = frozenset({"GET", "HEAD"})
_MINUTE_MS, _DAY_MS = 60_000, 86_400_000


class Gate:
    """Admits requests; ``secure`` when the page is reached over https."""

    def __init__(self, config: PeopleConfig, store: Store, clock: Clock, *, secure: bool) -> None:
        self._config, self._store, self._clock, self.secure = config, store, clock, secure
        self._keys = {key.sha256: key for key in config.keys}
        self._rate_of_key = {f"key:{key.name}": key.per_minute for key in config.keys}
        self._rates = Rates(clock)
        self.cookie = "__Host-yemai" if secure else "yemai"

    async def admit(self, request: Request, right: Right) -> Person:
        """Return who asks, when he has the right; raise :class:`Denied`."""
        person, session = await self._who(request)
        if person is None:
            self.count_unknown(request)
            raise Denied(401, "请先登录", "sign in first, or send a key as 'Authorization: Bearer KEY'")
        reads = request.method in SAFE_METHODS
        if session is not None and not reads and not _is_ours(request):
            raise Denied(
                403, "请求不是从本页面发出的", "nothing proves that this request comes from our own page"
            )
        self._count(person, lane_of(right, reads=reads))
        if not person.may(right):
            raise Denied(403, "您没有此项权限", f"{person.name} has not the right '{right}'")
        if session is not None and right not in ONLOOKING:
            await self._be_there(session)
            self._be_sure(person, session, right)
        return person

    async def let_through(self, request: Request) -> None:
        """Count a request that nobody has to be known for; raise :class:`Denied` for one too many."""
        try:
            person, _ = await self._who(request)
        except Unavailable:  # the route itself says whether it needs the database
            person = None
        if person is None:
            self.count_unknown(request)
        else:
            self._count(person, "look")

    def count_unknown(self, request: Request) -> None:
        """Count a request that nobody known made; raise :class:`Denied` for one too many."""
        self._rates.unknown(address_of(request), self._config.address_per_minute)

    async def known(self, request: Request) -> tuple[Person | None, Session | None]:
        """Return who asks without asking for anything."""
        return await self._who(request)

    def is_idle(self, session: Session) -> bool:
        """Return whether a person has not been there for too long to do more than look."""
        idle_ms = self._clock.now_ms() - session.seen_ms
        return session.kind == "person" and idle_ms > self._config.policy.idle_min * _MINUTE_MS

    def give(self, answer: Response, key: str, session: Session) -> Response:
        """Put a session's key into the browser that asked."""
        lasts_s = (session.ends_ms - self._clock.now_ms()) // 1000
        answer.set_cookie(
            self.cookie, key, max_age=lasts_s, path="/", secure=self.secure, httponly=True, samesite="strict"
        )
        return answer

    def take(self, answer: Response) -> Response:
        """Take it from the browser."""
        answer.delete_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="strict")
        return answer

    def _count(self, person: Person, lane: Lane) -> None:
        rate = self._rate_of_key.get(person.login, self._config.session_per_minute)
        self._rates.known(person.session or person.login, lane, rate)

    async def _be_there(self, session: Session) -> None:
        if self.is_idle(session):
            raise Denied(401, "离开时间过长，请重新登录", "away for too long: sign in again", reason="idle")
        now = self._clock.now_ms()
        if now - session.seen_ms > SEEN_EVERY_MS:
            async with self._store.change() as db:
                await sessions.touch(db, session.id, now)

    def _be_sure(self, person: Person, session: Session, right: Right) -> None:
        now, again_min = self._clock.now_ms(), self._config.prove_again_min
        if right != "self" and person.password_ends_ms is not None and now >= person.password_ends_ms:
            days = self._config.policy.password_days
            raise Denied(
                403, f"密码已使用超过 {days} 天，请先在“账户”中修改密码",
                f"the password is older than {days} days: change it under your account first", reason="password",
            )  # fmt: skip
        if right in PROVEN and 0 < again_min * _MINUTE_MS < now - session.created_ms:
            raise Denied(
                401, "此操作须重新验证身份，请重新登录", "prove who you are before this: sign in again", reason="prove"
            )  # fmt: skip

    async def _who(self, request: Request) -> tuple[Person | None, Session | None]:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":  # any other is a proxy's business
            key = self._keys.get(hash_of(given.strip()))
            name = f"key:{key.name}" if key else ""
            return (Person(name, name, rights_of_key(key)), None) if key else (None, None)
        cookie = request.cookies.get(self.cookie)
        if not cookie:
            return None, None
        async with self._store.read() as db:
            session = await sessions.find(db, cookie, self._clock.now_ms())
            if session is None:
                return None, None
            if session.kind == "wall":
                rights = rights_of(("wall",))
                return Person(session.login, session.login, rights, ("wall",), session=session.id), session
            user = await users.find(db, session.login)
        if user is None or not user.active:
            return None, None
        rights = rights_of(user.roles)
        days = self._config.policy.password_days
        ends_ms = None if days is None else user.password_ms + days * _DAY_MS
        return Person(user.login, user.name, rights, user.roles, user.areas, session.id, ends_ms), session


def _is_ours(request: Request) -> bool:
    """Return whether a browser itself says that the request comes from a page of this origin."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is not None and origin.split("://")[-1] == request.headers.get("host")
