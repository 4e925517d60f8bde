"""What every store promises, run over each that is found."""

import uuid

import pytest
from conftest import missing
from databases import InfluxDB

from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry import plugins
from telemetry.quality import Quality
from telemetry.readings import Reading

CLASSES = load_classes()
T0 = 1_764_000_000_000
ALL = (0, 2**60)


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory):
    """One for all tests, or None where it is not installed."""
    server = InfluxDB(tmp_path_factory.mktemp("influxdb")) if InfluxDB.find() else None
    if server:
        server.start()
    yield server
    if server:
        server.stop()


@pytest.fixture(params=plugins.names("cloud_ingest.stores"))
def make(request, tmp_path, influxdb):
    module, opened = plugins.load("cloud_ingest.stores", request.param), []
    if request.param == "influxdb":
        if influxdb is None:
            missing("influxd", "apt install influxdb")
        config = module.Config(influxdb.url, f"t{uuid.uuid4().hex}")
    else:
        config = module.Config(tmp_path / "store")

    def opener():
        opened.append(module.Store(config, CLASSES, lambda _: {"area": "test", "site": "East Gate, 1=2"}))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


def frame(*rows, device_class="noise_monitor", metric="sound_level"):
    readings = [
        Reading(device, T0 + ms, {metric: value}, {metric: quality} if quality else {})
        for device, ms, value, quality in rows
    ]
    return Frame.of(readings, CLASSES[device_class])


def history(store, device="a", step=0, how="mean"):
    return store.history("noise_monitor", device, "sound_level", ALL, step, how)


def test_the_same_batch_twice_is_once(make):
    store, batch = make(), frame(("a", 0, 50.0, 0), ("b", 0, 51.0, 0), ("a", 1000, 52.0, 0))
    assert store.replaces([batch], [[1, 1, 1]]) is None
    store.write([batch], [[1, 1, 1]], T0)
    assert not store.replaces([batch], [[1, 1, 1]])
    assert store.write([batch], [[1, 1, 1]], T0).samples == 3
    assert sum(store.count().values()) == 3
    assert history(store) == [(T0, 50.0, 0), (T0 + 1000, 52.0, 0)]


def test_out_of_order_is_in_order(make):
    store = make()
    store.write([frame(("a", 2000, 3.0, 0))], [[1]], T0)
    store.write([frame(("a", 0, 1.0, 0), ("a", 1000, 2.0, 0))], [[2, 2]], T0)
    assert [value for _, value, _ in history(store)] == [1.0, 2.0, 3.0]


def test_another_upload_for_the_same_sample_overwrites_and_is_counted(make):
    store = make()
    store.write([frame(("a", 0, 1.0, 0))], [[1]], T0)
    other = frame(("a", 0, 2.0, 0))
    assert store.replaces([other], [[2]]) == {"a": 1}
    store.write([other], [[2]], T0)
    assert history(store) == [(T0, 2.0, 0)]


def test_what_a_batch_does_to_itself_is_counted_and_its_last_word_stands(make):
    store = make()
    batch = frame(("a", 0, 1.0, 0), ("b", 0, 9.0, 0), ("a", 0, 2.0, 0), ("a", 0, 3.0, 0), ("a", 1000, 4.0, 0))
    assert store.replaces([batch], [[1, 1, 2, 2, 2]]) == {"a": 2}
    store.write([batch], [[1, 1, 2, 2, 2]], T0)
    assert history(store) == [(T0, 3.0, 0), (T0 + 1000, 4.0, 0)]
    assert sum(store.count().values()) == 3


def test_what_was_overwritten_is_known_after_reopening(make):
    store = make()
    store.write([frame(("a", 0, 1.0, 0), ("a", 5000, 1.0, 0))], [[1, 1]], T0)
    store.close()
    again = make()
    assert again.replaces([frame(("a", 0, 2.0, 0), ("a", 1000, 2.0, 0))], [[2, 2]]) == {"a": 1}
    assert again.replaces([frame(("a", 6000, 2.0, 0))], [[2]]) is None


def test_metrics_of_the_same_moment_come_together(make):
    store = make()
    for seq, metric in enumerate(("smoke_alarm", "fault"), 1):
        batch = frame(("s", 0, float(seq), 0), device_class="smoke_detector", metric=metric)
        assert not store.replaces([batch], [[seq]])
        store.write([batch], [[seq]], T0)
    (row,) = store.latest()
    assert row["values"] == {"smoke_alarm": 1.0, "fault": 2.0}


def test_none_is_not_zero_and_its_quality_is_kept(make):
    store = make()
    store.write([frame(("a", 0, None, Quality.NO_ANSWER), ("a", 1000, 0.0, 0))], [[1, 1]], T0)
    assert history(store) == [(T0, None, Quality.NO_ANSWER), (T0 + 1000, 0.0, 0)]
    assert sum(store.count().values()) == 2


def test_down_sampling_leaves_out_what_is_not_good(make):
    store = make()
    store.write(
        [
            frame(
                ("a", 0, 1.0, 0),
                ("a", 100, 3.0, 0),
                ("a", 200, 900.0, Quality.IMPLAUSIBLE),
                ("a", 1000, 7.0, 0),
            )
        ],
        [[1] * 4],
        T0,
    )
    for how, first in (("mean", 2.0), ("min", 1.0), ("max", 3.0), ("last", 3.0)):
        assert history(store, step=1000, how=how) == [(T0, first, 0), (T0 + 1000, 7.0, 0)]


def test_gaps_are_between_good_samples(make):
    store = make()
    store.write(
        [frame(("a", 0, 1.0, 0), ("a", 5000, None, Quality.NO_ANSWER), ("a", 9000, 1.0, 0))], [[1] * 3], T0
    )
    assert store.gaps("noise_monitor", "a", ALL, 6000) == [(T0, T0 + 9000)]
    assert store.gaps("noise_monitor", "a", ALL, 10_000) == []


def test_what_cannot_be_believed_is_told_by_its_commonest_quality(make):
    store, no_answer, odd = make(), Quality.NO_ANSWER, Quality.IMPLAUSIBLE
    rows = [
        ("a", 0, 1.0, 0),
        ("a", 1000, None, no_answer),
        ("a", 2000, 900.0, odd),
        ("a", 3000, None, no_answer),
    ]
    store.write([frame(*rows, ("a", 9000, 1.0, 0), ("b", 2000, 900.0, odd))], [[1] * 6], T0)
    assert store.doubts("noise_monitor", "a", (T0 + 1, T0 + 8999)) == {"sound_level": no_answer}
    assert store.doubts("noise_monitor", "a", (T0 + 1500, T0 + 2500)) == {"sound_level": odd}
    assert store.doubts("noise_monitor", "a", (T0 + 5000, T0 + 9000)) == {}
    assert store.doubts("smoke_detector", "a", ALL) == {}


def test_what_was_written_is_there_after_reopening(make):
    store = make()
    store.write([frame(("a", 0, 1.0, 0))], [[1]], T0)
    store.close()
    assert history(make()) == [(T0, 1.0, 0)]


def test_a_frame_that_fails_leaves_nothing_of_its_batch(make):
    store, good = make(), frame(("a", 0, 1.0, 0))
    broken = Frame(
        "no_such_class", good.devices, good.index, good.time, good.values, good.quality, good.shift
    )
    with pytest.raises(KeyError):
        store.write([good, broken], [[1], [1]], T0)
    assert sum(store.count().values()) == 0
