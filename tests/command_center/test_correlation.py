"""Ties are looked for where they can be, and found as if everything that stands had been looked at."""

from hypothesis import given
from hypothesis import strategies as st

from command_center.correlation import Member, Place, Standing, Windows, ties
from command_center.places import Ground, Group, Places

WINDOWS = Windows()
T0 = 1_764_000_000_000
_DEGREE_M = 111_320.0
GROUPS = ["1", "2"]
AROUND = st.floats(-400.0, 400.0) | st.sampled_from([0.0, 79.9, 80.0, 80.1, -80.0, 160.0])
PLACES = st.builds(
    lambda n, site, groups, at: Place(
        f"d{n}", site, *((None, None) if at is None else (116.0 + at[0] / _DEGREE_M, 31.8 + at[1] / _DEGREE_M)), groups
    ),
    st.integers(0, 9), st.sampled_from(["", "s1", "s2"]), st.frozensets(st.sampled_from(GROUPS)),
    st.none() | st.tuples(AROUND, AROUND),
)  # fmt: skip
MOMENTS = st.integers(-2_000_000, 2_000_000).map(lambda ms: T0 + ms)
HELD = st.lists(st.tuples(st.integers(0, 5), PLACES, MOMENTS, st.integers(0, 900_000)), max_size=30)


@given(HELD, PLACES, MOMENTS)
def test_looking_where_a_tie_can_be_finds_what_looking_everywhere_finds(held, place, began):
    members = {}
    standing = Standing(WINDOWS)
    for n, (incident, where, first, lasted) in enumerate(held):
        key = f"inc-{incident}", where.device, f"r{n}"
        members[key] = Member(key[0], where, first, first + lasted)
        standing.put(key, members[key])
    assert standing.ties(place, began) == ties(place, began, members.values(), WINDOWS)
    assert standing.ties(place, began) == ties(place, began, reversed(members.values()), WINDOWS)


@given(st.lists(PLACES, max_size=20, unique_by=lambda place: place.device))
def test_what_stands_near_a_device_is_every_device_whose_alarm_may_have_a_tie_to_its_own(stand):
    rows = {one.device: {"site": one.site, "lon": one.lon, "lat": one.lat} for one in stand}
    members = {group: tuple(one.device for one in stand if group in one.groups) for group in GROUPS}
    known = Places(tuple(Group(group, "pole", devices) for group, devices in members.items()))
    ground = Ground(known, lambda: rows, WINDOWS)
    for one in stand:
        at_once = [Member(other.device, ground.place(other.device), T0, T0) for other in stand]
        tied = {device for device, _ in ties(ground.place(one.device), T0, at_once, WINDOWS)}
        assert tied <= ground.near([one.device])


def test_the_ground_is_surveyed_anew_when_the_registry_has_changed():
    rows = {"a": {"site": "s1"}, "b": {"site": "s2"}}
    ground = Ground(Places(), lambda: rows, WINDOWS)
    assert ground.near(["a"]) == {"a"}
    rows = {"a": {"site": "s1"}, "b": {"site": "s1"}}
    assert ground.near(["a", "unknown"]) == {"a", "b", "unknown"}


def test_nobody_looks_at_what_stands_elsewhere():
    standing = Standing(WINDOWS)
    for n in range(1000):
        place = Place(f"d{n}", f"s{n}", 116.0, 31.0 + n / 100)
        standing.put((f"inc-{n}", place.device, "r"), Member(f"inc-{n}", place, T0, T0))
    asked = []

    class Watched(dict):
        def __getitem__(self, key):
            asked.append(key)
            return super().__getitem__(key)

    standing._members = Watched(standing._members)
    assert [incident for incident, _ in standing.ties(Place("x", "s5", 116.0, 31.07), T0)] == [
        "inc-5",
        "inc-7",
    ]
    assert sorted(incident for incident, *_ in asked) == ["inc-5", "inc-7"]
