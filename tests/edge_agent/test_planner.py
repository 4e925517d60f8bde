"""The planner finds the cheapest requests, and refuses a schedule that no line can carry."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.loading import load_catalogue
from device_profiles.profile import Limits, Point, Space
from device_profiles.registers import Block
from edge_agent.driver import Device
from edge_agent.planner import Reach, Wanted, Wire, blocks_for, groups_for
from edge_agent.schedule import MOST_USED, plan_bus

LINES = st.sampled_from([Wire.serial(4800), Wire.serial(9600, "8E1"), Wire.serial(115_200), Wire.tcp()])


@st.composite
def maps(draw):
    """A few values in a short address range, and what the device does not allow."""
    places = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 2)), min_size=1, max_size=6))
    points, end = [], -1
    for start, count in sorted(places):
        if start > end:
            points.append(Point(metric=f"m{start}", address=start, type="u16" if count == 1 else "u32"))
            end = start + count - 1
    used = {a for p in points for a in p.addresses}
    free = sorted(set(range(45)) - used)
    illegal = draw(st.sets(st.sampled_from(free), max_size=4))
    limits = Limits(
        max_registers=draw(st.sampled_from([2, 6, 20, 125])), max_hole=draw(st.sampled_from([0, 3, 8, 30]))
    )
    return points, Reach(limits, frozenset((Space.HOLDING, a) for a in illegal))


def all_ways(points):
    """Every way to put points into requests, neighbours or not."""
    if not points:
        yield []
        return
    first, rest = points[0], points[1:]
    for others in itertools.chain.from_iterable(
        itertools.combinations(rest, n) for n in range(len(rest) + 1)
    ):
        left = [p for p in rest if p not in others]
        for more in all_ways(left):
            yield [[first, *others], *more]


def span(points):
    start = min(p.address for p in points)
    return Block(Space.HOLDING, start, max(p.address + p.count for p in points) - start)


@given(maps(), LINES, st.sampled_from([0.001, 0.005, 0.05]))
def test_no_other_way_to_read_a_map_is_cheaper(made, wire, turnaround_s):
    points, reach = made
    used = {a for p in points for a in p.addresses}
    found = blocks_for(points, points, reach, wire, turnaround_s)
    assert used <= {a for b in found for a in range(b.address, b.address + b.count)}
    assert all(reach.allows(block, used) or any(span([p]) == block for p in points) for block in found)

    def cost(blocks):
        return sum(wire.request_s(block, turnaround_s) for block in blocks)

    possible = (
        [span(part) for part in way]
        for way in all_ways(points)
        if all(len(part) == 1 or reach.allows(span(part), used) for part in way)
    )
    assert cost(found) == pytest.approx(min(map(cost, possible)))


def test_a_hole_is_read_across_only_where_that_is_cheaper_than_another_request():
    near, far = ([Point(metric="a", address=0), Point(metric="b", address=address)] for address in (11, 60))
    reach, slow, fast = Reach(Limits(max_hole=100)), Wire.serial(9600), Wire.serial(115_200)
    assert len(blocks_for(near, near, reach, slow, 0.005)) == 1
    assert len(blocks_for(far, far, reach, slow, 0.005)) == 2
    assert len(blocks_for(far, far, reach, fast, 0.02)) == 1, "bytes are cheap, waiting is not"


def test_values_of_a_longer_period_that_lie_in_the_way_come_along():
    profile = load_catalogue()["eastron_sdm630"]
    groups = groups_for(
        profile,
        Wanted(1.0, {"current_l1": 60.0, "import_energy": 60.0}),
        Reach(profile.limits),
        Wire.serial(9600),
    )
    assert "current_l1" in groups[0].metrics, "it stands between values that are read anyway"
    assert groups[-1].period_s == 60.0 or "import_energy" in groups[0].metrics
    told = [metric for group in groups for metric in group.metrics]
    assert sorted(told) == sorted(profile.metrics), "each once"


def test_values_are_read_together_where_asking_twice_would_cost_more():
    profile = load_catalogue()["cwt_uwd"]
    last = profile.metrics[-1]
    nearly = groups_for(profile, Wanted(1.0, {last: 1.1}), Reach(profile.limits), Wire.serial(9600))
    assert len(nearly) == 1
    assert nearly[0].period_s == 1.0


@pytest.mark.parametrize("name", [n for n, p in load_catalogue().items() if p.transport == "modbus"])
def test_every_model_of_the_catalogue_is_read_whole_within_its_limits(name):
    profile = load_catalogue()[name]
    profile = profile.bind(
        {n: p.low if p.default is None else p.default for n, p in profile.parameters.items()}
    )
    groups = groups_for(profile, Wanted(2.0), Reach(profile.limits), Wire.serial(9600))
    read = {(b.space, a) for g in groups for b in g.blocks for a in range(b.address, b.address + b.count)}
    assert {(p.space, a) for p in profile.points if not p.name for a in p.addresses} <= read
    for group in groups:
        assert group.addresses <= read
        for block in group.blocks:
            most = profile.limits.max_bits if block.space.is_bits else profile.limits.max_registers
            assert block.count <= most
            assert not profile.limits.exact or (block.address, block.count) in profile.limits.exact


def test_first_turns_are_spread_over_the_shortest_period():
    profile = load_catalogue()["sonbest_sm7901b"]
    devices = [Device(f"d{n}", profile, n + 1, 0.5) for n in range(10)]
    plan = plan_bus(devices, 5.0, Wire.serial(9600))
    assert [poll.start_s for poll in plan.polls] == pytest.approx([0.5 * n for n in range(10)])
    assert plan.used == pytest.approx(10 * plan.polls[0].group.seconds / 5)
    assert plan.used < MOST_USED


def test_a_plan_can_be_written_down():
    profile = load_catalogue()["sonbest_sm7901b"]
    plan = plan_bus([Device("d", profile, 1, 0.5)], 5.0, Wire.serial(9600))
    assert msgspec.json.decode(msgspec.json.encode(plan.polls[0].group.blocks)) == [
        {"space": "holding", "address": 0, "count": 1}
    ]
