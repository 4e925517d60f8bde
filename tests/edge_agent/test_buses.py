"""A bus tells of every device in every period: fresh values, or that there are none and why."""

import itertools

import pytest
from lines import PaperLine, polling

from device_profiles.loading import load_catalogue
from device_profiles.profile import Space
from device_profiles.registers import Block, encode
from edge_agent.driver import Device, Exceptional, LinkDown
from telemetry.errors import Malformed, Unavailable
from telemetry.quality import Quality
from telemetry.testing import ManualClock

NOISE = load_catalogue()["sonbest_sm7901b"]
WELL = encode(NOISE, {"sound_level": 50.0})


def noise(name, timeout_s=0.5, **more):
    return Device(name, NOISE, 1, timeout_s, **more)


async def play(says, seconds, period_s=1.0, devices=None):
    clock = ManualClock()
    line = PaperLine(clock, says)
    async with polling(line, devices or [noise(name) for name in says], period_s, clock) as (heard, _):
        await clock.advance(seconds)
    return heard, line


def gaps(heard, device):
    times = [
        reading.time for reading in heard if reading.device == device and None not in reading.values.values()
    ]
    return [b - a for a, b in itertools.pairwise(times)]


def then(*steps):
    """Meet each step in turn, the last for ever."""
    left = list(steps)
    return lambda _block: left.pop(0) if len(left) > 1 else left[0]


async def test_a_device_is_read_once_a_period_without_drift():
    heard, _ = await play({"a": WELL}, 10.1)
    assert gaps(heard, "a") == [1000] * 10


async def test_polls_of_one_period_start_one_behind_the_other():
    heard, _ = await play({"a": WELL, "b": WELL, "c": WELL, "d": WELL}, 1.0)
    times = [reading.time for reading in heard]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([250] * 3, abs=1)


@pytest.mark.parametrize(
    ("error", "quality"),
    [
        (Unavailable("no answer"), Quality.NO_ANSWER),
        (Exceptional("exception 4", 4), Quality.REFUSED),
        (Exceptional("exception 2", 2), Quality.REFUSED),
        (Malformed("CRC"), Quality.MALFORMED),
        (LinkDown("no port"), Quality.LINK_DOWN),
    ],
)
async def test_trouble_makes_a_reading_without_values_and_never_the_last_again(error, quality):
    heard, _ = await play({"a": then(WELL, error)}, 6)
    assert heard[0].values == {"sound_level": 50.0}
    assert all(r.values == {"sound_level": None} and r.quality == {"sound_level": quality} for r in heard[1:])
    assert len(heard) >= 5


async def test_a_dead_device_does_not_take_the_bus_from_the_living():
    heard, line = await play({"dead": Unavailable("x"), "well": WELL}, 60)
    assert max(gaps(heard, "well")) <= 1500
    dead = [reading for reading in heard if reading.device == "dead"]
    assert len(dead) >= 55, "it is told of in every period"
    assert sum(asked == "dead" for asked, _ in line.asked) < 12, "but asked less and less"


async def test_a_device_that_comes_back_is_believed_at_once():
    heard, _ = await play({"a": then(*[Unavailable("x")] * 3, WELL)}, 30)
    back = next(n for n, reading in enumerate(heard) if reading.values == {"sound_level": 50.0})
    assert all(reading.values == {"sound_level": 50.0} for reading in heard[back:])


async def test_a_lost_line_is_told_for_every_device_on_it_and_tried_again():
    heard, line = await play({"a": LinkDown("gone"), "b": LinkDown("gone")}, 40)
    assert {(r.device, r.quality["sound_level"]) for r in heard} == {
        ("a", Quality.LINK_DOWN),
        ("b", Quality.LINK_DOWN),
    }
    assert len(heard) >= 78
    assert 4 <= len(line.asked) < 20, "with longer and longer pauses"


async def test_what_was_missed_is_not_made_up_for():
    heard, _ = await play({"slow": then(Unavailable("x"), Unavailable("x"), WELL)}, 12, period_s=0.2)
    assert set(gaps(heard, "slow")) == {200}


async def test_values_of_another_period_are_read_at_theirs():
    meter = load_catalogue()["mennekes_amtron_compact"]
    held = encode(meter, dict.fromkeys(meter.metrics, 1.0))
    device = Device("chg", meter, 50, 0.5, periods_s={"import_energy": 10.0})
    heard, _ = await play({"chg": held}, 31.0, devices=[device])
    assert sum("import_energy" in reading.values for reading in heard) == 4
    assert sum("active_power" in reading.values for reading in heard) in (31, 32)
    texts = [reading.attributes for reading in heard if reading.attributes]
    assert texts == [{"firmware": "1.0.6", "serial_number": "AC2S000001"}], (
        "at the start, and then every 600 s"
    )


async def test_one_silent_request_of_a_device_that_answers_others_costs_only_its_own_values():
    meter = load_catalogue()["mennekes_amtron_compact"]
    held = encode(meter, dict.fromkeys(meter.metrics, 1.0))
    says = lambda block: Unavailable("x") if block.address == 256 else held  # noqa: E731
    heard, _ = await play({"chg": says}, 60, devices=[Device("chg", meter, 50, 0.3)])
    late = [reading for reading in heard if "active_power" in reading.values][5:]
    assert len(late) >= 50
    assert {reading.values["active_power"] for reading in late} == {1.0}
    assert {reading.quality["vehicle_state"] for reading in late} == {Quality.NO_ANSWER}


async def test_eight_dead_of_thirty_two_are_never_probed_one_after_the_other_however_long_they_stay_dead():
    period_s, timeout_s = 5.0, 1.0  # one round of time-outs would take longer than a period
    names = [f"n{n:02}" for n in range(32)]
    for dead in (set(names[::4]), set(names[:8]), set(names[24:])):
        clock = ManualClock()
        says = dict.fromkeys(names, WELL) | dict.fromkeys(dead, Unavailable("x"))
        line = PaperLine(clock, says)
        async with polling(line, [noise(n, timeout_s) for n in names], period_s, clock) as (heard, _):
            await clock.advance(20)  # they are known now
            heard.clear()
            line.asked.clear()
            await clock.advance(600)
            worst = max(max(gaps(heard, name)) for name in names if name not in dead) / 1000
            assert worst <= 1.2 * period_s + timeout_s
            probes = [device for device, _ in line.asked if device in dead]
            assert len(probes) * timeout_s <= 0.05 * 600 + 2, "a twentieth of the time"
            assert set(probes) == dead, "and each has its turn"
            line.says |= dict.fromkeys(dead, WELL)  # the fuse is back in
            heard.clear()
            await clock.advance(60)
            assert {r.device for r in heard if None not in r.values.values()} == set(names)


async def test_with_eight_of_thirty_two_dead_the_others_are_no_older_than_the_bound():
    period_s, timeout_s = 5.0, 0.3
    names = [f"n{n:02}" for n in range(32)]
    for dead in (set(names[::4]), set(names[:8]), set(names[24:])):
        clock = ManualClock()
        line = PaperLine(clock, dict.fromkeys(names, WELL))
        async with polling(line, [noise(n, timeout_s) for n in names], period_s, clock) as (heard, _):
            await clock.advance(20)
            line.says |= dict.fromkeys(dead, Unavailable("x"))  # all at once: the cable is cut
            await clock.advance(180)
        worst = max(max(gaps(heard, name)) for name in names if name not in dead) / 1000
        assert worst <= 1.2 * period_s + timeout_s
        told = [r for r in heard if r.device in dead and r.quality.get("sound_level") == Quality.NO_ANSWER]
        assert len(told) >= 8 * 34, "and the dead are told of in every period"
        back = names.index(min(dead))
        line.says[names[back]] = WELL
        async with polling(line, [noise(n, timeout_s) for n in names], period_s, clock) as (heard, _):
            await clock.advance(60)
        assert gaps(heard, names[back]), "one that lives again is found"


async def test_a_heartbeat_is_sent_as_often_as_the_device_wants_it_however_seldom_it_is_read():
    charger = load_catalogue()["mennekes_amtron_compact"]
    held = encode(charger, {})
    clock = ManualClock()
    line = PaperLine(clock, {"chg": held})
    async with polling(line, [Device("chg", charger, 50, 0.5)], 60.0, clock):
        await clock.advance(60)
    beats = [write for _, write in line.written if (write.address, write.words) == (3328, (21930,))]
    assert 12 <= len(beats) <= 16


async def test_heartbeats_leave_a_lost_line_alone_as_polls_do():
    charger = load_catalogue()["mennekes_amtron_compact"]
    names, clock = [f"chg-{n}" for n in range(8)], ManualClock()
    line = PaperLine(clock, dict.fromkeys(names, LinkDown("gone")))
    async with polling(line, [Device(name, charger, 50, 0.5) for name in names], 5.0, clock) as (heard, _):
        await clock.advance(120)
    assert len(line.asked) + len(line.written) < 20
    assert {reading.device for reading in heard[-50:]} == set(names)


async def test_an_illegal_hole_is_found_with_few_refusals_remembered_and_never_asked_again(tmp_path):
    from edge_agent.learned import Learned

    profile = load_catalogue()["heidelberg_energy_control"]
    held, kept = encode(profile, dict.fromkeys(profile.metrics, 1.0)), tmp_path / "learned.json"
    clock = ManualClock()
    line = PaperLine(clock, {"chg": held})
    span = next(b for b in _first_asked(profile) if b.space is Space.HOLDING)
    hole = 260  # between charging_enabled, 259, and current_limit, 261
    assert span == Block(Space.HOLDING, 259, 3)
    line.refuses["chg"] = {hole}
    device = Device("chg", profile, 1, 0.5)
    async with polling(line, [device], 1.0, clock, learned=Learned(kept)) as (heard, _):
        await clock.advance(10)
    assert sum(block == span for _, block in line.asked) == 1, "refused once"
    assert all(reading.values["current_limit"] is not None for reading in heard), (
        "and not one value was missed"
    )
    line.asked.clear()
    async with polling(line, [device], 1.0, clock, learned=Learned(kept)) as (heard, _):
        await clock.advance(10)
    assert span not in {block for _, block in line.asked}, "a restart remembers"
    assert Learned(kept).lessons["heidelberg_energy_control"].illegal == [(Space.HOLDING, 260, 260)]


async def test_the_longest_request_of_a_model_is_found_by_halving():
    profile = load_catalogue()["eastron_sdm630"]
    clock = ManualClock()
    line = PaperLine(clock, {"m": encode(profile, dict.fromkeys(profile.metrics, 1.0))})
    line.longest["m"] = 7
    async with polling(line, [Device("m", profile, 1, 0.5)], 2.0, clock) as (heard, poller):
        await clock.advance(20)
        assert max(b.count for t in poller.plan.polls for b in t.group.blocks) <= 7
    assert all(None not in reading.values.values() for reading in heard)


async def test_a_register_that_a_firmware_has_not_is_asked_alone_and_the_others_go_on_together():
    profile = load_catalogue()["cwt_uwd"]
    clock = ManualClock()
    line = PaperLine(clock, {"w": encode(profile, dict.fromkeys(profile.metrics, 1.0))})
    absent = (
        next(p for p in profile.points if p.metric == "rain_rate")
        if any(p.metric == "rain_rate" for p in profile.points)
        else profile.points[len(profile.points) // 2]
    )
    line.refuses["w"] = set(absent.addresses)
    async with polling(line, [Device("w", profile, 1, 0.5)], 2.0, clock) as (heard, poller):
        await clock.advance(20)
        asked = [b for t in poller.plan.polls for b in t.group.blocks]
    assert len(asked) <= 3
    assert {m for m, v in heard[-1].values.items() if v is None} == {absent.metric}
    assert heard[-1].quality[absent.metric] is Quality.REFUSED


async def test_the_wrong_device_on_the_port_is_a_fault_and_not_data():
    profile = load_catalogue()["keller_series_30"]
    right, wrong = (
        encode(profile, {"pressure": 0.4}),
        encode(profile, {"pressure": 9.0}, {"serial_number": "7"}),
    )
    clock = ManualClock()
    line = PaperLine(clock, {"wp": right})
    async with polling(line, [Device("wp", profile, 1, 0.5, identity="104729")], 1.0, clock) as (heard, _):
        await clock.advance(5.5)
        assert {r.values["pressure"] for r in heard if r.values} == {0.4}
        line.says["wp"], line.opened = wrong, 2  # the adapters have changed places
        heard.clear()
        await clock.advance(5)
        assert {(r.values["pressure"], r.quality["pressure"]) for r in heard if r.values} == {
            (None, Quality.DEVICE_FAULT)
        }
        line.says["wp"], line.opened = right, 3
        heard.clear()
        await clock.advance(5)
        assert {r.values["pressure"] for r in heard if r.values} == {0.4}


def _first_asked(profile):
    from edge_agent.planner import Reach, Wanted, Wire, groups_for

    return groups_for(profile, Wanted(1.0), Reach(profile.limits), Wire.serial(9600))[0].blocks
