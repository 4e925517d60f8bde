"""The registry's files: taken in when they are other than they were, and not at every start."""

import pytest
from world import write_registry

from cloud_ingest.config import LedgerConfig, RegistryConfig
from cloud_ingest.ledger import Ledger
from cloud_ingest.reader import LedgerReader
from cloud_ingest.registry import approval, keeper
from cloud_ingest.registry.keeper import Keeper, Renewal
from telemetry.errors import ConfigError, Unavailable
from telemetry.testing import ManualClock

NOW = 1_764_000_000_000


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start and stop a keeper; return how often it compared the files with the database, and what it then held."""
    devices, sites = write_registry(tmp_path)
    imports, run_import = [], keeper.run_import

    def counted(*told):
        imports.append(told)
        return run_import(*told)

    monkeypatch.setattr(keeper, "run_import", counted)

    def starting(meanwhile=lambda _: None, producer="ingest-1", **more):
        imports.clear()
        config = RegistryConfig(devices, sites, f"sqlite:///{tmp_path / 'registry.db'}", **more)
        here = Keeper(config, producer, ManualClock())
        try:
            found = here.open()
            meanwhile(here.database)
        finally:
            here.close()
        return len(imports), set(found.devices)

    starting.devices = devices
    return starting


ALL = {"noise-01", "smoke-01", "chg-01", "soil-01"}


def test_files_that_are_as_they_were_are_not_imported_again(start):
    assert start() == (1, ALL)
    assert start() == (0, ALL)
    start.devices.touch()
    assert start() == (0, ALL)
    text = start.devices.read_text("utf-8")
    start.devices.write_text(text.replace("noise-01,噪声", "noise-02,噪声"), "utf-8")
    assert start() == (1, ALL - {"noise-01"} | {"noise-02"})
    assert start()[0] == 0
    start.devices.write_text(text, "utf-8")
    assert start() == (1, ALL)


def test_files_are_imported_again_when_they_are_checked_against_something_else(start):
    assert start()[0] == 1
    assert start(bounds=(115.5, 31.5, 116.2, 32.1)) == (1, ALL)
    assert start(bounds=(115.5, 31.5, 116.2, 32.1))[0] == 0
    with pytest.raises(ConfigError, match="outside the district"):
        start(bounds=(10.0, 31.5, 11.0, 32.1))
    assert start(bounds=(115.5, 31.5, 116.2, 32.1))[0] == 0, "what was refused is not remembered"
    assert start(producer="ingest-2", bounds=(115.5, 31.5, 116.2, 32.1))[0] == 1


def test_a_device_that_was_retired_by_hand_stays_so_over_a_restart(start):
    start(lambda database: approval.decommission(database, "chg-01", by="li", now_ms=NOW))
    assert start() == (0, ALL - {"chg-01"})


async def test_a_registry_that_the_disk_refuses_is_in_use_when_it_takes_it(tmp_path):
    devices, sites = write_registry(tmp_path)
    keeper = Keeper(
        RegistryConfig(devices, sites, f"sqlite:///{tmp_path / 'registry.db'}"), "ingest-1", ManualClock()
    )
    keeper.open()
    ledger = Ledger(LedgerConfig(tmp_path / "ledger.db"))
    refusals, used = ["database or disk is full"], []

    async def here(work, *arguments):
        return work(*arguments)

    async def use(registry):
        if refusals:
            raise Unavailable(refusals.pop())
        used.append(set(registry.devices))

    renewal = Renewal(keeper, here, use, LedgerReader(LedgerConfig(tmp_path / "ledger.db")), list)
    try:
        approval.decommission(keeper.database, "chg-01", by="li", now_ms=NOW)
        await renewal.refresh()
        assert (used, keeper.problem) == ([], "database or disk is full")
        await renewal.refresh()
        await renewal.refresh()
        assert (used, keeper.problem) == ([ALL - {"chg-01"}], "")
    finally:
        ledger.close()
        keeper.close()


def test_a_ledger_that_cannot_be_read_keeps_no_decision_about_a_device_from_being_in_force(tmp_path):
    devices, sites = write_registry(tmp_path)
    keeper = Keeper(
        RegistryConfig(devices, sites, f"sqlite:///{tmp_path / 'registry.db'}"), "ingest-1", ManualClock()
    )
    keeper.open()
    try:
        approval.decommission(keeper.database, "chg-01", by="li", now_ms=NOW)
        with pytest.raises(Unavailable, match="ledger: "):
            keeper.look(LedgerReader(LedgerConfig(tmp_path / "none.db")), [])
        assert set(keeper.registry.devices) == ALL - {"chg-01"}
    finally:
        keeper.close()
