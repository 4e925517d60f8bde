"""A registry database of either kind, with one site and the devices of the ingest tests."""

import contextlib

from world import write_registry

from cloud_ingest.registry.database import Database
from cloud_ingest.registry.importing import Order, run_import
from cloud_ingest.registry.sheets import read_sheets
from device_profiles.loading import load_catalogue

NOW = 1_764_000_000_000  # 2025-11-24
BOUNDS = (115.5, 31.5, 116.2, 32.1)


@contextlib.contextmanager
def database(url):
    here = Database(url, load_catalogue())
    here.open()
    try:
        yield here
    finally:
        here.close()


def imported(here, *paths, data=None, **more):
    sheets = [sheet for path in paths for sheet in read_sheets(path, data)]
    return run_import(
        here, sheets, Order(**{"by": "li", "now_ms": NOW, "bounds": BOUNDS, **more}), load_catalogue()
    )


def filled(here, folder):
    devices, sites = write_registry(folder)
    return imported(here, sites, devices)


def lines(report):
    """Return (line, column) of each mistake, and the mistakes by line."""
    return [(mistake.line, mistake.column) for mistake in report.mistakes]


def url_of(kind, request, tmp_path):
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    return f"postgresql://{request.getfixturevalue('postgres').create()}"
