"""The report policy: less is sent, no extreme is lost, and what is withheld is counted."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given
from lines import running
from waiting import wait_until

from device_profiles.loading import load_catalogue
from edge_agent import gather
from edge_agent.buffer import Buffer
from edge_agent.config import OutboxConfig
from edge_agent.gather import Gatherer, Shape
from edge_agent.report import Reporter, ReportRule, check_rules
from telemetry.codecs import json as wire
from telemetry.errors import ConfigError
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.quality import Quality
from telemetry.readings import Reading, Upload
from telemetry.testing import ManualClock

CLASSES = {"d": "noise_monitor", "m": "manhole_cover"}


def reading(at_s, value, metric="sound_level", device="d", quality=None):
    return Reading(device, at_s * 1000, {metric: value}, {metric: quality} if quality else {})


def played(rule, values, **more):
    reporter = Reporter([rule], CLASSES)
    return [
        (r.time // 1000, r.values)
        for at, value in enumerate(values)
        for r in reporter.take(reading(at, value, **more))
    ], reporter


def test_without_a_rule_every_sample_passes_untouched():
    reporter = Reporter([], CLASSES)
    whole = reading(1, 3.0)
    assert reporter.take(whole) == [whole]


def test_what_stays_within_the_dead_band_is_withheld_until_the_heartbeat():
    rule = ReportRule("change", dead_band=1.0, heartbeat_s=5)
    sent, reporter = played(rule, [50, 50.5, 51, 51.1, 51.2, 51.3, 51.4, 51.5, 51.6])
    assert [at for at, _ in sent] == [0, 3, 8]
    assert reporter.withheld == {"change": 6}


def test_a_slow_creep_is_reported_whenever_it_has_crept_a_dead_band():
    sent, _ = played(ReportRule("change", dead_band=1.0, heartbeat_s=1000), [n * 0.3 for n in range(20)])
    values = [values["sound_level"] for _, values in sent]
    assert len(values) > 4
    assert all(b - a <= 1.0 + 0.3 + 1e-9 for a, b in zip(values, values[1:], strict=False))


def test_a_sensor_that_falls_silent_is_reported_at_once_under_every_policy():
    for policy in ("every", "change", "window"):
        reporter = Reporter([ReportRule(policy, dead_band=100)], CLASSES)
        reporter.take(reading(0, 50.0))
        reporter.take(reading(1, 50.0))
        told = reporter.take(reading(2, None, quality=Quality.NO_ANSWER))
        assert told[-1].quality == {"sound_level": Quality.NO_ANSWER}, policy


def test_a_state_is_reported_at_once_though_its_window_is_long():
    rule = ReportRule("window", window_s=3600)
    sent, _ = played(rule, [0, 0, 1, 1, 0, 0], metric="cover_state", device="m")
    assert [at for at, _ in sent] == [0, 2, 4]


def test_what_waits_for_a_windows_end_is_not_lost_at_the_end():
    reporter = Reporter([ReportRule("window", window_s=3600)], CLASSES)
    for at, value in enumerate([50, 70, 20, 40]):
        reporter.take(reading(at, value))
    held = reporter.held()
    assert [r.values["sound_level"] for r in held] == [70, 20, 40]
    assert reporter.flush() == held
    assert reporter.flush() == []


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=80),
    st.sampled_from(["every", "change", "window"]),
    st.integers(1, 30),
    st.floats(0, 1000),
)
def test_no_extreme_is_lost_nothing_is_invented_and_the_count_closes(values, policy, window, band):
    rule = ReportRule(policy, dead_band=band, heartbeat_s=window, window_s=window)
    reporter, sent = Reporter([rule], CLASSES), []
    for at, value in enumerate(values):
        quality = None if value is not None else Quality.NO_ANSWER
        sent += reporter.take(reading(at, value, quality=quality))
    sent += reporter.flush()
    told = {r.time // 1000: r.values["sound_level"] for r in sent}
    assert len(told) == len(sent), "each once"
    assert all(values[at] == value for at, value in told.items()), "with its own time"
    assert len(sent) + sum(reporter.withheld.values()) == len(values)
    real = [v for v in values if v is not None]
    kept = [v for v in told.values() if v is not None]
    slack = band if policy == "change" else 0
    if real:
        assert min(kept) - min(real) <= slack + 1e-9 * abs(slack)
        assert max(real) - max(kept) <= slack + 1e-9 * abs(slack)
    assert not any(math.isnan(v) for v in kept)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (ReportRule("change", metrics=("sound_levl",)), "$.report[0].metrics: no device here has 'sound_levl'; did you mean 'sound_level'?"),
        (ReportRule("change", dead_band=-1), "$.report[0].dead_band: -1 is not at least 0; 0 reports every change"),
        (ReportRule("change", dead_band=float("nan")), "$.report[0].dead_band: nan is not at least 0; 0 reports every change"),
        (ReportRule("window", window_s=0), "$.report[0].window_s: 0 s is not within 1 and 86400"),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_be_meant_is_refused(tmp_path, rule, message):
    with pytest.raises(ConfigError) as caught:
        check_rules(tmp_path / "edge.toml", [rule], [load_catalogue()["sonbest_sm7901b"]])
    assert str(caught.value) == f"{tmp_path / 'edge.toml'}: {message}"


async def test_a_reading_that_raises_an_alarm_is_sent_once_though_it_is_judged_after_it_was_put(tmp_path):
    clock = ManualClock()
    async with Keeper(Outbox.open(tmp_path / "o.db", max_bytes=10**6)) as keeper:
        reporter = Reporter([ReportRule("change", metrics=("sound_level",))], CLASSES)
        buffer = Buffer(OutboxConfig(tmp_path / "o.db"), clock)
        gatherer = Gatherer(Shape("edge-01", "json", 200_000), keeper, clock, reporter, buffer)
        first, second = (Reading("d1", 1000 + n, {"sound_level": 40.0}) for n in range(2))
        for reading in (first, second):  # the second is withheld
            gatherer.take(reading)
            await gatherer.flush()
        for reading in (first, second, second):
            gatherer.at_once(reading)
        await gatherer.flush()
        queued = await keeper.look(lambda box: box.waiting(9))
    times = [r.time for m in queued for r in wire.decode(m.payload, Upload).readings]
    assert times == [1000, 1001]


async def test_a_reading_that_the_disk_did_not_take_is_tried_again_though_no_other_comes(tmp_path):
    clock = ManualClock()
    async with Keeper(Outbox.open(tmp_path / "o.db", max_bytes=10**6)) as keeper:
        buffer = Buffer(OutboxConfig(tmp_path / "o.db"), clock)
        gatherer = Gatherer(Shape("edge-01", "json", 200_000), keeper, clock, Reporter((), {}), buffer)
        async with running(gatherer.run()):
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
            gatherer.take(Reading("d1", 1000, {"sound_level": 40.0}))
            await wait_until(lambda: gatherer.trouble or clock.advance(0.1))
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
            await wait_until(lambda: not gatherer.in_memory or clock.advance(0.1))
        assert (await keeper.counters()).queued == 1


async def test_what_waited_for_a_windows_end_is_sent_once_however_often_the_agent_is_killed(tmp_path):
    clock = ManualClock()
    async with Keeper(Outbox.open(tmp_path / "o.db", max_bytes=10**6)) as keeper:

        async def started():
            reporter = Reporter([ReportRule("window", window_s=60)], CLASSES)
            buffer = Buffer(OutboxConfig(tmp_path / "o.db"), clock)
            gatherer = Gatherer(Shape("edge-01", "json", 200_000), keeper, clock, reporter, buffer)
            await gatherer.restore()
            return gatherer

        first = await started()
        for at, value in enumerate([50.0, 40.0, 60.0, 45.0]):
            first.take(reading(at, value))
        await first.flush()  # and the agent is killed, again and again
        for _ in range(3):
            await (await started()).flush()
        queued = await keeper.look(lambda box: box.waiting(9))
    times = [r.time // 1000 for m in queued for r in wire.decode(m.payload, Upload).readings]
    assert times == [0, 1, 2, 3]


async def test_what_memory_does_not_hold_while_the_disk_is_told_of_a_loss_is_told_of_next(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(gather, "MOST_READINGS", 2)
    monkeypatch.setattr(gather, "HELD_READINGS", 4)
    clock, gaps = ManualClock(), []
    async with Keeper(Outbox.open(tmp_path / "o.db", max_bytes=10**6)) as keeper:
        buffer = Buffer(OutboxConfig(tmp_path / "o.db"), clock)
        gatherer = Gatherer(Shape("edge-01", "json", 200_000), keeper, clock, Reporter((), {}), buffer)

        def read(first):
            for n in range(first, first + 6):
                gatherer.take(Reading("d1", 1000 + n, {"sound_level": 40.0}))

        lose = keeper.lose

        async def slowly(gap):
            await lose(gap)
            gaps.append((gap.samples, gap.start, gap.end))
            if len(gaps) == 1:
                read(6)

        monkeypatch.setattr(keeper, "lose", slowly)
        read(0)
        for _ in range(3):
            await gatherer.flush()
        told = await keeper.counters()
    assert gaps == [(2, 1002, 1003), (2, 1003, 1009)]
    assert (told.made, told.queued, told.dropped) == (12, 8, {"disk_full": 4})
