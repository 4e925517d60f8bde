"""A server that takes InfluxDB's v2 writes and answers no InfluxQL: written, and asked for nothing it cannot tell."""

import pytest
from conftest import missing
from databases import VictoriaMetrics

from cloud_ingest.stores.influxdb import Config, Store
from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry.errors import Refused, Unavailable
from telemetry.readings import Reading

CLASSES = load_classes()
T0 = 1_764_000_000_000


@pytest.fixture
def server(tmp_path):
    if not VictoriaMetrics.find():
        missing("victoria-metrics", "apt install victoria-metrics")
    here = VictoriaMetrics(tmp_path / "vm").start()
    yield here
    here.stop()


@pytest.fixture
def store(server):
    link = Config(server.url, "yemai", org="o", version=2, timeout_s=30)
    here = Store(link, CLASSES, lambda _: {"area": "test"})
    yield here
    here.close()


def frame():
    readings = [
        Reading("n1", T0, {"sound_level": 50.5}),
        Reading("n1", T0 + 1000, {"sound_level": 900.0}, {"sound_level": 64}),
    ]
    return Frame.of(readings, CLASSES["noise_monitor"])


def test_what_is_written_twice_is_there_once_with_its_tags(server, store):
    for _ in range(2):
        assert store.write([frame()], [[7, 7]], T0).samples == 2
    (series,) = server.export('{__name__="noise_monitor_sound_level"}')
    assert (series["metric"]["device"], series["metric"]["area"]) == ("n1", "test")
    assert set(zip(series["timestamps"], series["values"], strict=True)) == {(T0, 50.5)}
    (doubted,) = server.export('{__name__="noise_monitor_sound_level__u"}')
    assert set(doubted["values"]) == {900.0}


def test_a_question_that_it_cannot_answer_is_refused_and_told(store):
    with pytest.raises(Refused, match="answers no InfluxQL"):
        store.latest()


def test_a_server_that_is_gone_is_unavailable_and_found_again(server, store):
    store.write([frame()], [[7, 7]], T0)
    server.kill()
    with pytest.raises(Unavailable):
        store.write([frame()], [[7, 7]], T0)
    server.start()
    assert store.write([frame()], [[7, 7]], T0).samples == 2
