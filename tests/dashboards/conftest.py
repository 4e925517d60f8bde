"""A real InfluxDB with an hour of a district in it, and a real Prometheus-speaking store with ingest's figures."""

import urllib.request

import district
import figures
import pytest
from conftest import missing
from databases import InfluxDB, VictoriaMetrics

from dashboards.generate import generate
from dashboards.look import LANGUAGES, Look

DATABASE = "yemai"


@pytest.fixture(scope="session")
def _servers(tmp_path_factory):
    running = {}
    for kind in (InfluxDB, VictoriaMetrics):
        if kind.find():
            running[kind] = kind(tmp_path_factory.mktemp(kind.program)).start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def _filled(_servers):
    if server := _servers.get(InfluxDB):
        district.fill(server.url, DATABASE)
    if server := _servers.get(VictoriaMetrics):
        for at, text in figures.scrapes(*district.SPAN):
            request = urllib.request.Request(
                f"{server.url}/api/v1/import/prometheus?timestamp={at}&extra_label=instance=ingest-1", text
            )
            urllib.request.urlopen(request, timeout=10).close()
        urllib.request.urlopen(f"{server.url}/internal/force_flush", timeout=10).close()
    return {kind: server.url for kind, server in _servers.items()}


@pytest.fixture
def influx(_filled):
    if InfluxDB not in _filled:
        missing("influxd", "apt install influxdb")
    return _filled[InfluxDB]


@pytest.fixture
def prometheus(_filled):
    if VictoriaMetrics not in _filled:
        missing("victoria-metrics", "apt install victoria-metrics")
    return _filled[VictoriaMetrics]


@pytest.fixture(scope="session")
def boards():
    """All boards, by language and uid."""
    return {language: generate(Look(language)) for language in LANGUAGES}
