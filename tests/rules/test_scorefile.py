"""Files through the detectors: what a labelled set, or somebody with a spreadsheet, comes with."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from rules.detectors.__main__ import main
from rules.scorefile import Wish, points
from telemetry.errors import ConfigError

T0 = 1_764_000_000


def write(path, rows, heading="time,level,flow,note"):
    text = "\n".join([heading, *(",".join(map(str, row)) for row in rows)]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def rows(count=300, step=300, odd=250):
    dice = np.random.default_rng(1)
    for n in range(count):
        level = 60.0 if n == odd else round(3 + float(dice.normal(0, 0.1)), 3)
        yield T0 + step * n, level, "" if n % 7 == 0 else round(float(dice.normal(9, 1)), 2), "fine"


def alarms(wish):
    return [(p.series, p.time // 1000 - T0) for p in points(wish) if p.detector]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_file_is_scored_column_by_column_and_the_odd_value_is_found(tmp_path, name):
    file = write(tmp_path / name, rows())
    assert alarms(Wish(file, "time")) == [("level", 300 * 250)]
    assert {p.series for p in points(Wish(file, "time", ("flow",)))} == {"flow"}


def test_times_may_be_written_as_people_and_machines_write_them(tmp_path):
    found = []
    for n, spell in enumerate(
        (
            str,
            lambda t: str(1000 * t),
            lambda t: datetime.fromtimestamp(t, UTC).isoformat(),
            lambda t: f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S.000}",
        )
    ):
        file = write(tmp_path / f"{n}.csv", [(spell(t), *rest) for t, *rest in rows()])
        found.append([(p.time, p.score, p.flag) for p in points(Wish(file, "time", ("level",)))])
    assert found[0] == found[1] == found[2] == found[3]


def test_what_is_no_number_is_unknown_and_so_is_what_the_maker_writes_for_it(tmp_path):
    table = [list(row) for row in rows()]
    for n, text in enumerate(("NaN", "", "null", "error", "-9999", "inf")):
        table[200 + n][1] = text
    found = list(points(Wish(write(tmp_path / "a.csv", table), "time", ("level",))))
    assert all(not p.flag and p.score == 0 for p in found[200:206])
    assert [p.time for p in found if p.detector] == [1000 * (T0 + 300 * 250)]


def test_rows_out_of_order_and_twice_score_nothing(tmp_path):
    table = list(rows())
    table.insert(240, (table[100][0], 900.0, "", ""))
    table.insert(241, table[239])
    found = list(points(Wish(write(tmp_path / "a.csv", table), "time", ("level",))))
    assert found[240].score == found[241].score == 0
    assert not found[240].flag


def test_a_file_cut_short_gives_the_same_scores_as_far_as_it_goes(tmp_path):
    whole = list(points(Wish(write(tmp_path / "a.csv", rows()), "time")))
    part = list(points(Wish(write(tmp_path / "b.csv", list(rows())[:255]), "time")))
    assert part == [p for p in whole if p.time <= part[-1].time] or str(part) == str(whole[: len(part)])


def test_columns_that_part_are_found_together_though_each_stays_in_its_range(tmp_path):
    dice = np.random.default_rng(2)
    both = dice.normal(0, 1, 500)
    table = [
        (T0 + 900 * n, 5 + b, 9 + (b if n < 450 else -b) + float(dice.normal(0, 0.05)))
        for n, b in enumerate(both)
    ]
    file = write(tmp_path / "a.csv", table, "time,inlet,outlet")
    found = [p for p in points(Wish(file, "time", together=True)) if p.detector]
    assert {p.series for p in found} == {"*"}
    assert T0 + 900 * 450 <= found[0].time // 1000 <= T0 + 900 * 456
    assert "does not fit" in found[0].because.en
    assert {p.series for p in points(Wish(file, "time"))} == {"inlet", "outlet"}


def test_the_command_prints_a_reason_in_both_languages(tmp_path, capsys):
    file = write(tmp_path / "a.csv", rows())
    assert main(["score", str(file), "--time", "time", "--value", "level", "--json", "--alarms"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["value"] == 60.0
    assert told["flag"]
    assert "60" in told["because"]["en"]
    assert "level" in told["because"]["zh"]
    assert main(["score", str(file)]) == 0
    heading, first, *_ = capsys.readouterr().out.splitlines()
    assert heading == "time,series,value,score,flag,began,detector,because"
    assert first.startswith("2025-11-24T16:00:00Z,level,")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", [], "line 1: the file is empty"),
        ("time,a\nx,1\n", [], "line 2: 'x' is no time; write ISO 8601"),
        ("time,a\n1,1\n", ["--value", "b"], "--value: no column 'b'; use one of"),
        ("time,a\n1,1\n", ["--time", "tme"], "--time: no column 'tme'; did you mean 'time'?"),
        ("time,a\n1,b\n", [], "no column holds numbers"),
        ("time,a\n1,1\n", ["--detectors", "bnd"], "no detector 'bnd'; did you mean 'band'?"),
        ("time,a\n1,1\n", ["--budget", "0"], "--budget: 0; give alarms a day above 0"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(tmp_path, capsys, text, options, says):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert main(["score", str(tmp_path / "a.csv"), *options]) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert not out


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv"):
        list(points(Wish(tmp_path / "none.csv")))
