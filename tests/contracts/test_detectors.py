"""What every detector promises, run over each that is found."""

import numpy as np
import pytest

from device_profiles.vocabulary import DeviceClass, Kind, Metric
from rules.bank import FOLDER, Bank, Calendar, Sample, level_of, weekends
from rules.engine import Engine
from rules.evidence import Words
from rules.frame import Frame
from rules.pack import Anomaly, Rule, RulePack
from rules.state import RuleState, State
from telemetry import plugins
from telemetry.text import Text

T0, QUARTER = 1_764_000_000_000, 900_000
LABEL = Text("水温", "Water temperature")
TANK = DeviceClass("tank", LABEL, {"heat": Metric("heat", "degC", Kind.GAUGE, -50, 1e9, LABEL)})
NAMES = plugins.names(FOLDER)
LENGTH = 460


def world(series=6, length=LENGTH):
    """Times (length,) with jitter and a gap, and values (length, series) with something odd in each."""
    dice = np.random.default_rng(7)
    steps = np.full(length, QUARTER) + dice.integers(-60_000, 60_000, length)
    steps[length // 2] = 40 * 3_600_000
    times = T0 + np.cumsum(steps)
    day = np.sin(2 * np.pi * (times / 86_400_000))[:, None]
    values = 20 + 3 * day + dice.normal(0, 0.3, (length, series))
    values[400, 0] += 40
    values[350:, 1] += 6
    values[320:420, 2] = values[320, 2]
    values[:, 3] = np.round(values[:, 3])
    values[300:, 4] += dice.normal(0, 4, length - 300)
    values[dice.random((length, series)) < 0.05] = np.nan
    return times, values


def play(bank, times, values, rows=None):
    """Return scores, flags and reasons of ``values`` (length, series), from nothing."""
    memory = RuleState.new(bank.basis, bank.columns, values.shape[1])
    standing, scores, said = np.zeros(values.shape[1], np.int8), np.zeros(values.shape), []
    flags = np.zeros(values.shape, bool)
    for n in range(len(times) if rows is None else rows):
        places = np.flatnonzero(np.isfinite(values[n]))
        before = memory.take("judged", places)
        sample = Sample(places, values[n][places], np.full(len(places), times[n]), before, standing[places])
        memory.put("judged", places, times[n])
        verdict = bank.sweep(memory, sample, level_of(0.1, 1, 1))
        begins = np.flatnonzero(verdict.alarm & (standing[places] == 0))
        said += [
            (n, int(places[i]), verdict.why(int(i), bank.detectors, Words(LABEL, "degC"))) for i in begins
        ]
        standing[places] = verdict.alarm
        scores[n, places], flags[n] = verdict.score, standing > 0
    return scores, flags, said, memory


@pytest.fixture(params=NAMES)
def bank(request):
    return Bank([request.param])


def test_it_says_what_it_is(bank):
    about = next(iter(bank.detectors.values())).about
    for text in (about.label, about.warm_up, about.score):
        assert text.zh
        assert text.en
        assert text.zh != text.en
    assert len(about.paper) > 8


def test_its_memory_is_bounded_and_its_names_are_its_own(bank):
    (name,) = bank.names
    own = bank.detectors[name].columns
    assert own
    assert all(column.startswith(f"{name}.") for column in own)
    times, values = world()
    *_, memory = play(bank, times, values)
    sizes = {column: array.nbytes for column, array in memory.columns.items()}
    assert sum(sizes.values()) == values.shape[1] * (bank.bytes_per_series + 9)
    assert bank.bytes_per_series < (1100 if bank.detectors[name].about.wide else 400)


def test_the_scores_of_a_beginning_are_the_beginning_of_the_scores(bank):
    times, values = world()
    whole, flags, _, _ = play(bank, times, values)
    part, some, _, _ = play(bank, times, values, rows=381)
    assert (part[:381] == whole[:381]).all()
    assert (some[:381] == flags[:381]).all()


def test_many_series_at_once_score_as_each_alone(bank):
    times, values = world()
    together, flags, _, _ = play(bank, times, values)
    for series in (0, 3, 4):
        alone, one, _, _ = play(bank, times, values[:, [series]])
        np.testing.assert_allclose(together[:, [series]], alone, rtol=1e-5, atol=1e-5)
        assert (flags[:, [series]] == one).all()


@pytest.mark.parametrize(
    "series",
    [
        pytest.param([5.0] * 200, id="constant"),
        pytest.param([0.0] * 120 + [1e30] * 80, id="huge"),
        pytest.param([1e-30 * (n % 7) for n in range(200)], id="tiny"),
        pytest.param([float(n) ** 3 for n in range(200)], id="growing"),
        pytest.param([(-1.0) ** n * 9999 for n in range(200)], id="swinging"),
    ],
)
@pytest.mark.parametrize("gap_s", [1, 3600, 40 * 86_400])
def test_no_series_breaks_it(bank, series, gap_s):
    times = T0 + 1000 * gap_s * np.arange(len(series))
    scores, _, said, memory = play(bank, times, np.array(series)[:, None])
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores < 20).all()
    assert all(np.isfinite(memory.columns[name]).all() for name in ("slow", "fast", "dev_slow", "dev_fast"))
    for _, _, (name, text) in said:
        assert name in bank.names
        assert text.zh
        assert text.en


def engine(detectors, budget=1.0):
    rule = Rule(
        id="tank.odd", title=Text("异常", "Odd"), metric="heat", category="maintenance", source="test",
        anomaly=Anomaly(detectors=tuple(detectors), budget_per_day=budget),
    )  # fmt: skip
    return Engine([RulePack("tank", (rule,), ())], {"tank": TANK})


def frames(times, values):
    """One a sweep, each with all the devices that answered."""
    devices = tuple(f"tank-{n}" for n in range(values.shape[1]))
    for time, row in zip(times, values, strict=True):
        count = len(devices)
        yield Frame(
            "tank", devices, np.arange(count, dtype=np.int32), np.full(count, time), row[:, None],
            np.where(np.isnan(row), 255, 0).astype(np.uint8)[:, None], np.zeros(count, np.int64),
        )  # fmt: skip


@pytest.mark.parametrize("detectors", [*([name] for name in NAMES), []], ids=[*NAMES, "all"])
def test_an_engine_that_was_restored_says_what_one_that_never_stopped_says(detectors):
    judge = engine(detectors)
    unbroken, restored, first, second = State.empty(), State.empty(), [], []
    for n, frame in enumerate(frames(*world())):
        unbroken, told = judge.evaluate(unbroken, frame, int(frame.time[0]))
        first += told
        if n % 50 == 0 and restored.classes:
            restored = State.load({"tank": restored.dump("tank")})
        restored, told = judge.evaluate(restored, frame, int(frame.time[0]))
        second += told
    assert first == second
    assert unbroken.dump("tank") == restored.dump("tank")
    assert first if not detectors else True


def test_a_late_sample_is_not_scored_and_teaches_nothing():
    judge, state = engine([]), State.empty()
    times, values = world()
    for frame in frames(times[:200], values[:200]):
        state, _ = judge.evaluate(state, frame, int(frame.time[0]))
    before = state.dump("tank")
    late = next(iter(frames(np.array([T0]), np.full((1, 6), 900.0))))
    state, told = judge.evaluate(state, late, int(T0))
    assert told == []
    assert state.dump("tank") == before


def test_an_alarm_gives_its_reason_and_keeps_it_until_it_ends():
    times, values = world()
    values[409:411, 5] = np.nan, 80
    judge, state, found = engine([], 0.01), State.empty(), []
    for frame in frames(times, values):
        state, told = judge.evaluate(state, frame, int(frame.time[0]))
        found += [t for t in told if t.device == "tank-5"]
    began = next(t for t in found if t.time == times[410])
    ended = next(t for t in found if t.alarm == began.alarm and t.change == "ended")
    assert began.change == "began"
    assert began.severity == 1
    assert began.category == "maintenance"
    assert "Water temperature" in began.because.en
    assert "degC" in began.because.en
    assert "水温" in began.because.zh
    assert ended.because == began.because
    assert ended.time > began.time


def test_a_smaller_budget_raises_fewer_alarms():
    times, values = world()
    counts = []
    for budget in (1e4, 1e-4):
        judge, state, found = engine([], budget), State.empty(), []
        for frame in frames(times, values):
            state, told = judge.evaluate(state, frame, int(frame.time[0]))
            found += [t for t in told if t.change == "began"]
        counts.append(len(found))
    assert counts[0] > counts[1]


def test_a_day_off_is_a_weekend_or_a_holiday_unless_people_work():
    days = np.arange(4)  # Thursday 1970-01-01 to Sunday
    assert weekends(days).tolist() == [False, False, True, True]
    festival, working = 20_728, 20_736  # 2026-10-02; 2026-10-10, a Saturday on which people work
    assert Calendar().is_off(np.array([festival, working])).tolist() == [True, False]


def crowd(dice, length=900, devices=8):
    """Stations that share weather: values (length, devices), an hour apart."""
    times = T0 + 3_600_000 * np.arange(length)
    weather = np.repeat(dice.normal(0, 1, length // 12 + 1), 12)[:length] + 4 * np.sin(
        np.arange(length) / 24 * 2 * np.pi
    )
    return times, 20 + weather[:, None] + dice.normal(0, 0.2, (length, devices))


def told_by(detectors, times, values):
    judge, state, found = engine(detectors, 0.01), State.empty(), []
    for frame in frames(times, values):
        state, told = judge.evaluate(state, frame, int(frame.time[0]))
        found += [t for t in told if t.change == "began"]
    return found


def test_a_station_that_leaves_its_neighbours_is_told_and_weather_is_not():
    times, values = crowd(np.random.default_rng(3))
    values[600:] += 9.0  # a front passes over all of them
    values[700:, 2] += 3.0  # one goes astray
    found = [t for t in told_by(["peers"], times, values) if t.time >= times[600]]
    assert {t.device for t in found} == {"tank-2"}
    assert times[700] <= found[0].time <= times[710]
    assert "neighbours, which show" in found[0].because.en


def test_a_front_that_all_neighbours_feel_is_no_band_alarm():
    times, values = crowd(np.random.default_rng(4))
    values[600:630] += 25.0
    with_peers = [t for t in told_by(["band", "peers"], times, values) if t.time >= times[600]]
    alone = [t for t in told_by(["band"], times, values) if t.time >= times[600]]
    assert alone
    assert not with_peers


def test_metrics_that_part_are_told_though_each_stays_in_its_range():
    dice = np.random.default_rng(5)
    common = dice.normal(0, 2, 900)
    rows = np.column_stack([10 + common, 50 + 3 * common, 7 - common]) + dice.normal(0, 0.1, (900, 3))
    rows[800:, 2] = 7 + common[800:]  # against the others, in its own range
    bank = Bank(["hotelling"])
    memory, standing, began = RuleState.new(bank.basis, bank.columns, 1), np.zeros(1, np.int8), []
    place = np.zeros(1, np.intp)
    for n, row in enumerate(rows):
        time = np.array([T0 + 900_000 * n])
        sample = Sample(place, row[:1], time, memory.take("judged", place), standing, row[None])
        memory.put("judged", place, time)
        verdict = bank.sweep(memory, sample, level_of(0.01, 1, 1))
        if verdict.alarm[0] and not standing[0]:
            words = Words(LABEL, "", tuple(Words(Text(name, name)) for name in ("a", "b", "c")))
            began.append((n, verdict.why(0, bank.detectors, words)[1].en))
        standing = verdict.alarm.astype(np.int8)
    assert began
    assert 800 <= began[0][0] <= 806
    assert began[0][1].startswith("c is")
    assert "does not fit" in began[0][1]


def test_a_tail_says_how_seldom_a_value_is():
    from scipy import stats

    from rules import tails
    from rules.series import Desk, Look

    dice, n = np.random.default_rng(6), 400
    memory = RuleState.new("tails", tails.columns("t", 3.5, 0.8), n)
    blank = dict.fromkeys(Look.__dataclass_fields__, np.zeros(n, np.float32))
    look = Look(**{**blank, "share": np.full(n, 900, np.float32), "standing": np.zeros(n, bool)})
    truth = stats.genpareto(0.1, scale=1.0)
    for _ in range(4000):
        drawn = truth.rvs(n, random_state=dice).astype(np.float32)
        told = tails.surprise(Desk(memory.columns, slice(0, n)), "t", drawn, look)
    asked = np.full(n, truth.isf(1e-4), np.float32)
    told = tails.surprise(Desk(memory.columns, slice(0, n)), "t", asked, look)
    assert abs(np.median(told) - 4) < 0.5
