"""What each role may do, and how a route says what it needs.

::

    @api.post("/api/alarms/{alarm}/…", dependencies=[needs("alarm.acknowledge")])

A route that needs nothing says ``needs("open")``; one that says nothing keeps the centre from starting.  In the
route ``person_of(request)`` is who asks, ``act_of(request)`` the same for the audit trail, and ``touch`` refuses what
lies outside this person's areas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
from fastapi import Depends, Request
from fastapi.routing import APIRoute

from command_center.answers import Denied
from command_center.audit import Act

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastapi import FastAPI

Role = Literal["operator", "dispatcher", "engineer", "security_admin", "auditor", "wall"]
Right = Literal[
    "open",  # nobody has to be known
    "self",  # whoever is signed in, about himself
    "read",
    "figures.read",
    "alarm.acknowledge",
    "alarm.assign",
    "alarm.comment",
    "alarm.shelve",
    "device.withdraw",
    "incident.edit",
    "plan.task",
    "plan.drill",
    "plan.edit",
    "action.approve",
    "action.undo",
    "cap.sign",
    "cap.receive",
    "audit.read",
    "people.admin",
]
RIGHTS: frozenset[Right] = frozenset(get_args(Right)) - {"open", "self"}
_ANYBODY: frozenset[Right] = frozenset({"open", "self"})

_OPERATOR: frozenset[Right] = frozenset(
    {
        "read", "figures.read", "alarm.acknowledge", "alarm.assign", "alarm.comment", "alarm.shelve", "incident.edit",
        "plan.task",
    }
)  # fmt: skip
ROLES: dict[Role, frozenset[Right]] = {
    "operator": _OPERATOR,
    "dispatcher": _OPERATOR | {"plan.drill", "action.approve", "action.undo", "cap.sign", "cap.receive"},
    "engineer": frozenset(
        {"read", "figures.read", "alarm.comment", "alarm.shelve", "device.withdraw", "plan.drill", "plan.edit"}
    ),
    "security_admin": frozenset({"people.admin"}),
    "auditor": frozenset({"read", "figures.read", "audit.read"}),
    "wall": frozenset({"read"}),
}  # fmt: skip
APART: tuple[tuple[Role, Role], ...] = (("auditor", "security_admin"),)
"""Roles that one person never has together: who gives rights does not judge how they were used."""
OF_PEOPLE_ONLY: frozenset[Right] = frozenset({"action.approve", "cap.sign", "people.admin", "self"})
"""What no machine's key may hold: two keys are not two people."""
PROVEN: frozenset[Right] = frozenset({"action.approve", "action.undo", "cap.sign"})
"""What moves a device or goes out to the public: whoever does it has signed in a short while ago."""
ONLOOKING: frozenset[Right] = frozenset({"open", "read"})
"""What a screen does by itself; it neither counts as a person's activity nor ends with his absence."""


class Person(msgspec.Struct, frozen=True):
    """Who asks.  ``areas`` are streets or sites; without any the whole district."""

    login: str
    name: str
    rights: frozenset[Right]
    roles: tuple[Role, ...] = ()
    areas: tuple[str, ...] = ()
    session: str = ""
    """The session's id; '' for a machine's key."""
    password_ends_ms: int | None = None
    """When his password is to be changed, UTC ms; None for never."""

    def may(self, right: Right) -> bool:
        """Return whether this person has a right."""
        return right in self.rights or right == "open" or (right == "self" and bool(self.roles))

    def is_charged_with(self, places: Iterable[str]) -> bool:
        """Return whether one of ``places`` lies in this person's areas."""
        return not self.areas or not set(self.areas).isdisjoint(places)


class Need:
    """The dependency that lets through who has a right."""

    def __init__(self, right: Right, *, counted: bool = True) -> None:
        self.right, self.counted = right, counted

    async def __call__(self, request: Request) -> None:
        """Let through, or raise :class:`Denied`."""
        if self.right != "open":
            person = await request.app.state.gate.admit(request, self.right)
            request.state.person = person
            if person.areas:
                await request.app.state.sight.check(person, request.path_params)
        elif self.counted:
            await request.app.state.gate.let_through(request)


def needs(right: Right, *, counted: bool = True) -> Any:
    """Return what a route puts among its ``dependencies``.

    An open route that is not ``counted`` answers an address however often it asks: the machines that must not be
    turned away because of their neighbours.
    """
    if right not in RIGHTS | _ANYBODY:
        raise ValueError(f"no right '{right}'")
    return Depends(Need(right, counted=counted))


def person_of(request: Request) -> Person:
    """Return who asks; only in a route that needs something."""
    person: Person = request.state.person
    return person


def act_of(request: Request) -> Act:
    """Return who asks, and from which address, for the audit trail."""
    return Act(person_of(request).name, address_of(request))


def address_of(request: Request) -> str:
    """Return where a request comes from."""
    return request.client.host if request.client else ""


def touch(request: Request, places: Iterable[str]) -> None:
    """Raise :class:`Denied` unless one of the places of a thing lies in the areas of who asks; 503 while nobody can tell."""
    person = person_of(request)
    request.app.state.sight.devices_of(person)  # an empty registry knows no places
    if not person.is_charged_with(places):
        raise outside(person)


def outside(person: Person) -> Denied:
    """Return the refusal of what lies outside a person's areas."""
    return Denied(
        403, "该对象不在您的管辖范围内", f"it lies outside the areas of {person.name}: {', '.join(person.areas)}"
    )  # fmt: skip


def rights_of(roles: Iterable[Role]) -> frozenset[Right]:
    """Return all that some roles may do."""
    return frozenset().union(*(ROLES[role] for role in roles))


def needed(api: FastAPI) -> Iterator[tuple[APIRoute, Need | None]]:
    """Yield each route with what it says it needs; None for one that says nothing."""
    for route in api.routes:
        if isinstance(route, APIRoute):
            found = [d.call for d in route.dependant.dependencies if isinstance(d.call, Need)]
            yield route, found[0] if found else None


def check(api: FastAPI) -> None:
    """Raise LookupError when a route says nothing of what it needs."""
    silent = [f"{route.path} ({route.name})" for route, need in needed(api) if need is None]
    if silent:
        raise LookupError(f"add dependencies=[needs(…)] to {', '.join(silent)}")
