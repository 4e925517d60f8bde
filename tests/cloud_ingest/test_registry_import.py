"""The data officer's files: every mistake told by line and column, all or nothing, and back out as they came in."""

import datetime as dt
import io
from pathlib import Path

import openpyxl
import pytest
from registry_world import database, filled, imported, lines, url_of
from world import DEVICES, SITES

from cloud_ingest.registry import approval, exporting
from cloud_ingest.registry.sheets import read_sheets
from telemetry.errors import ConfigError

FILES = Path(__file__).parent / "registry_files"


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request, tmp_path):
    with database(url_of(request.param, request, tmp_path)) as here:
        filled(here, tmp_path)
        yield here


def test_more_than_twenty_kinds_of_mistakes_are_all_told_and_nothing_is_imported(registry):
    approval.decide(registry, "agent", "edge-66", allowed=False, by="li", now_ms=1)
    before, revision = registry.contents(), registry.revision()
    report = imported(registry, FILES / "twenty_mistakes.csv")
    told = {(m.line, m.column): (m.value, m.problem.en, m.hint.en) for m in report.mistakes}
    assert lines(report) == [
        (3, "profile"), (4, "site"), (5, "lon"), (6, "lon"), (7, "lon"), (8, "lat"), (9, "lon"), (10, "lon"), (10, "lat"),
        (11, "lon"), (12, "datum"), (13, "device"), (14, "device"), (15, "device"), (16, "device"), (17, "name_zh"),
        (18, "agent"), (19, "owner"), (20, "installed_on"), (21, "installed_on"), (22, "retired_on"), (23, "unit"),
        (24, "unit"), (25, "serial_number"), (26, ""), (27, ""), (28, "agent"),
    ]  # fmt: skip
    assert told[3, "profile"] == ("sonbest_sm7901", "is no profile", "did you mean 'sonbest_sm7901b'?")
    assert told[4, "site"] == ("s0l", "is no site", "did you mean 's01'?")
    assert "degrees, like 115.9252" in told[5, "lon"][2]
    assert "not minutes and seconds" in told[6, "lon"][2]
    assert told[7, "lon"] == ("115,92", "is no number", "the decimal point is a '.'")
    assert told[8, "lat"] == ("115.9200", "is not within ±90", "are lon and lat exchanged?")
    assert told[9, "lon"] == ("31.8500", "is no longitude here", "are lon and lat exchanged?")
    assert told[10, "lat"][1] == "lies outside the district, 31.5 to 32.1"
    assert told[12, "datum"] == ("beijing54", "is no datum", "use one of 'bd09', 'gcj02', 'wgs84'")
    assert told[13, "device"][1:] == ("is given twice", "ids are unique, and line 2 has it")
    assert told[23, "unit"][1:] == ("is what 'ok-01' has", "check both, or retire 'ok-01' first")
    assert told[28, "agent"][1] == "is an agent that was denied"
    assert all(
        m.problem.zh and any("\u4e00" <= letter <= "\u9fff" for letter in m.problem.zh)
        for m in report.mistakes
    )
    assert (registry.contents(), registry.revision()) == (before, revision)
    assert not report.applied


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("device,name_zh,name_en,profil,agent,site,lon,lat,owner\n", 1, "", "no column 'profile'"),
        ("device,name_zh,name_en,profile,agent,site,lon,lat,owner,colour\nx\n", 1, "colour", "is no column"),
        ("device,name_zh,name_en,profile,agent,site,lon,lat,owner,lat\nx\n", 1, "lat", "is given twice"),
        ("device,name_zh,name_en,profile,agent,site,lon,lat,owner\n\n", 1, "", "has no rows"),
        ("site,name_zh,name_en,street,lon,lat,department\ns02,乙,B,,115.9,31.8,市政\n", 2, "street", "is empty"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_told(tmp_path, text, line, column, problem):
    (tmp_path / "table.csv").write_text(text, "utf-8")
    with database(f"sqlite:///{tmp_path / 'r.db'}") as here:
        report = imported(here, tmp_path / "table.csv")
    first = report.mistakes[0]
    assert (first.line, first.column, first.problem.en) == (line, column, problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a;b;c\n1;2;3\n", "line 1: 'a;b;c' names neither sites nor devices; separate by commas"),
        (
            "设备".encode() + b"\xff\xff\n",
            "line 1: byte 0xff is neither UTF-8 nor GB18030; save it as CSV in UTF-8",
        ),
        ("site,x\n".encode("utf-16"), "is neither UTF-8 nor GB18030"),
        (b"", "line 1: '' names neither sites nor devices"),
        (b"PK\x03\x04broken", "is no Excel workbook"),
    ],
)
def test_what_is_no_table_is_one_plain_sentence(tmp_path, data, problem):
    (tmp_path / "f.csv").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_sheets(tmp_path / "f.csv")
    assert problem in str(caught.value)


def test_gb18030_is_read_and_said(registry, tmp_path):
    (tmp_path / "gb.csv").write_bytes(DEVICES.replace("噪声", "噪音").encode("gb18030"))
    report = imported(registry, tmp_path / "gb.csv")
    assert [note.en for note in report.notes] == [f"{tmp_path / 'gb.csv'} was read as GB18030"]
    assert registry.contents().devices["noise-01"].name.zh == "噪音"


def test_a_dry_run_tells_the_difference_and_changes_nothing(registry, tmp_path):
    text = DEVICES.replace("noise-01,噪声,Noise", "noise-01,噪声,Loudness").replace("chg-01", "chg-02")
    (tmp_path / "new.csv").write_text(text, "utf-8")
    report = imported(registry, tmp_path / "new.csv", dry_run=True)
    assert {(c.id, c.change) for c in report.changes} == {("noise-01", "changed"), ("chg-02", "new")}
    assert next(c for c in report.changes if c.id == "noise-01").fields == {
        "name": ({"zh": "噪声", "en": "Noise"}, {"zh": "噪声", "en": "Loudness"})
    }
    assert (report.missing, report.applied) == (("chg-01",), False)
    assert "chg-02" not in registry.contents().devices


def test_what_left_the_file_goes_out_of_service_when_that_is_wanted(registry, tmp_path):
    (tmp_path / "less.csv").write_text("\n".join(DEVICES.splitlines()[:3]), "utf-8")
    imported(registry, tmp_path / "less.csv")
    assert not registry.contents().devices["chg-01"].retired_on
    report = imported(registry, tmp_path / "less.csv", missing="retire")
    assert report.applied
    assert registry.contents().devices["chg-01"].retired_on == "2025-11-24"
    assert imported(registry, tmp_path / "less.csv", missing="retire").changes == ()


def test_what_is_exported_and_imported_again_changes_nothing(registry, tmp_path):
    text = SITES + "s02,=乙站,\"B, 'site'\",乙路,115.93,31.86,市政\n"
    (tmp_path / "more.csv").write_text(text, "utf-8")
    imported(registry, tmp_path / "more.csv")
    before = registry.contents()
    for kind in ("sites", "devices"):
        (tmp_path / f"out-{kind}.csv").write_bytes(exporting.as_csv(before, kind))
    assert ",'=乙站," in (tmp_path / "out-sites.csv").read_text("utf-8"), "a name is no formula"
    (tmp_path / "out.xlsx").write_bytes(exporting.as_workbook(before))
    for paths in ([tmp_path / "out-sites.csv", tmp_path / "out-devices.csv"], [tmp_path / "out.xlsx"]):
        report = imported(registry, *paths)
        assert (report.mistakes, report.changes, report.unchanged) == (
            (),
            (),
            len(before.sites) + len(before.devices),
        )
    with database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        imported(other, tmp_path / "out.xlsx")
        assert other.contents() == before


def test_an_officers_workbook_with_chinese_headings_and_typed_cells_is_read(registry):
    book = openpyxl.Workbook()
    page = book.active
    page.append(
        [
            "设备编号",
            "中文名称",
            "英文名称",
            "型号",
            "边缘代理",
            "所属站点",
            "经度",
            "纬度",
            "坐标系",
            "责任单位",
            "安装日期",
            "总线地址",
        ]
    )
    page.append(
        [
            "noise-09",
            "噪声九",
            "Noise 9",
            "sonbest_sm7901b",
            "edge-01",
            "s01",
            115.92,
            31.85,
            "GCJ-02",
            "市政",
            dt.datetime(2026, 5, 31),  # noqa: DTZ001 - a cell has no zone
            7.0,
        ]
    )
    data = io.BytesIO()
    book.save(data)
    report = imported(registry, Path("officer.xlsx"), data=data.getvalue())
    assert report.mistakes == ()
    device = registry.contents().devices["noise-09"]
    assert (device.installed_on, device.unit) == ("2026-05-31", 7)
    assert 300 < abs(device.lon - 115.92) * 94_600 < 700, "metres that GCJ-02 is off there"


def test_the_national_datum_is_taken_for_wgs84(registry, tmp_path):
    head, row = (
        DEVICES.splitlines()[0] + ",datum\n",
        "n-7,噪声,Noise,sonbest_sm7901b,edge-01,s01,115.92,31.85,市政,CGCS2000\n",
    )
    (tmp_path / "n.csv").write_text(head + row, "utf-8")
    assert imported(registry, tmp_path / "n.csv").applied
    assert registry.contents().devices["n-7"].lon == 115.92


def test_a_bus_address_is_free_again_when_its_device_is_replaced(registry, tmp_path):
    head = DEVICES.splitlines()[0] + ",bus,unit,retired_on\n"
    row = "{},噪声,Noise,sonbest_sm7901b,edge-01,s01,115.92,31.85,市政,rs485-1,7,{}\n"
    (tmp_path / "one.csv").write_text(head + row.format("n-1", ""), "utf-8")
    (tmp_path / "two.csv").write_text(head + row.format("n-2", ""), "utf-8")
    assert imported(registry, tmp_path / "one.csv").applied
    assert lines(imported(registry, tmp_path / "two.csv")) == [(2, "unit")], "n-1 is registered with it"
    (tmp_path / "both.csv").write_text(
        head + row.format("n-1", "2026-06-01") + row.format("n-2", ""), "utf-8"
    )
    assert imported(registry, tmp_path / "both.csv").applied
