"""People and sessions as the API answers them.  Times are UTC milliseconds."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from command_center.people.contacts import Contact
from command_center.people.rights import Right, Role
from command_center.people.sessions import Session
from telemetry.text import Text


class Me(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is signed in; a machine's key has no roles."""

    login: str
    name: str
    roles: list[Role]
    areas: list[str]


class SessionNow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is signed in here and what he may; or nobody, and what signing in asks for."""

    person: Me | None
    rights: list[Right] | UnsetType = UNSET
    idle: bool | UnsetType = UNSET
    ends_ms: int | UnsetType | None = UNSET
    password_ends_ms: int | UnsetType | None = UNSET
    first: bool | UnsetType = UNSET
    second_factor: bool | UnsetType = UNSET
    title: Text | UnsetType = UNSET


class Begun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session began; its cookie comes with the answer."""

    login: str
    ends_ms: int


class Gone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nobody is signed in here any more."""

    person: None


class TimeNow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The centre's time."""

    now_ms: int


class Opened(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an enrolment link is for; ``secret`` and ``picture`` go into an authenticator."""

    first: bool
    login: str
    name: str
    second_factor: bool
    secret: str
    picture: str


class OwnSession(Session, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of one's own sessions; ``here`` is the one that asks."""

    here: bool


class Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody, with what he may."""

    login: str
    name: str
    roles: list[Role]
    areas: list[str]
    active: bool
    enrolled: bool
    second_factor: bool


class Contacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people are reached; ``sent`` is what a vendor said of the code just sent."""

    contacts: list[Contact]
    sent: str | UnsetType = UNSET


class Everybody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everybody, their sessions and the walls; ``link`` is good once and told once."""

    people: list[Known]
    sessions: list[Session]
    walls: list[Session]
    roles: dict[Role, list[Right]]
    places: list[str]
    link: str | UnsetType = UNSET
