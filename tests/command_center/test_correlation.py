"""Ties are looked for where they can be, and found as if everything that stands had been looked at."""

from hypothesis import given
from hypothesis import strategies as st

from command_center.correlation import Member, Place, Standing, Windows, ties

WINDOWS = Windows()
T0 = 1_764_000_000_000
_DEGREE_M = 111_320.0
AROUND = st.floats(-400.0, 400.0) | st.sampled_from([0.0, 79.9, 80.0, 80.1, -80.0, 160.0])
PLACES = st.builds(
    lambda n, site, groups, at: Place(
        f"d{n}", site, *((None, None) if at is None else (116.0 + at[0] / _DEGREE_M, 31.8 + at[1] / _DEGREE_M)), groups
    ),
    st.integers(0, 9), st.sampled_from(["", "s1", "s2"]), st.frozensets(st.sampled_from(["pole-1", "feeder-2"])),
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
