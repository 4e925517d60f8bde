"""Who is on duty, minute by minute, over nights, holidays and a year of turns; and what a mistake in the file says."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from tellers import SETUP

from command_center import policies
from command_center.notices import quiet_ms
from command_center.policies import Quiet
from command_center.rosters import Roster, Rotation, Shift, on_duty
from telemetry.errors import ConfigError

CITY = ZoneInfo("Asia/Shanghai")
WORK = ("mon", "tue", "wed", "thu", "fri")
ROSTER = Roster(
    shifts=(
        Shift(("day",), "08:00", "20:00", WORK),
        Shift(("night",), "20:00", "08:00", WORK),
        Shift(("weekend",), days=("sat", "sun")),
        Shift(("holiday",), date=date(2026, 10, 1)),
    )
)


def at(words, zone=CITY):
    return int(datetime.fromisoformat(words).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("when", "who"),
    [
        ("2026-11-24 07:59:59", ("night",)),  # since Monday evening
        ("2026-11-24 08:00", ("day",)),
        ("2026-11-24 19:59:59", ("day",)),
        ("2026-11-24 20:00", ("night",)),
        ("2026-11-25 00:00", ("night",)),
        ("2026-11-28 03:00", ("weekend", "night")),  # Saturday: Friday's night goes on until eight
        ("2026-11-28 12:00", ("weekend",)),
        ("2026-11-30 07:00", ()),  # Monday before eight: Sunday has no night
        ("2026-10-01 12:00", ("holiday",)),  # a Thursday
        ("2026-10-01 02:00", ("holiday", "night")),
        ("2026-10-02 03:00", ()),  # the holiday's shift ended at midnight and had no night
    ],
)
def test_who_is_on_duty(when, who):
    assert on_duty(ROSTER, at(when), CITY) == who


def test_a_year_of_turns_changes_at_the_minute_and_misses_nobody():
    roster = Roster(rotation=Rotation(date(2026, 1, 5), ("a", "b", "c"), 7, "08:00"))
    start = at("2026-01-05 08:00")
    assert on_duty(roster, start - 1000, CITY) == ()
    for week in range(52):
        change = start + week * 7 * 86_400_000
        assert on_duty(roster, change, CITY) == ("abc"[week % 3],)
        if week:
            assert on_duty(roster, change - 1000, CITY) == ("abc"[(week - 1) % 3],)


def test_turns_keep_the_local_hour_where_clocks_change():
    zone = ZoneInfo("Europe/Berlin")
    roster = Roster(rotation=Rotation(date(2026, 3, 23), ("a", "b"), 7, "08:00"))
    assert on_duty(roster, at("2026-03-30 07:59", zone), zone) == ("a",)
    assert on_duty(roster, at("2026-03-30 08:00", zone), zone) == ("b",)


@pytest.mark.parametrize(
    ("when", "minutes"), [("2026-11-24 21:59", 0), ("2026-11-24 22:00", 540), ("2026-11-25 06:30", 30), ("2026-11-25 07:00", 0)]
)  # fmt: skip
def test_quiet_hours_end_in_the_morning(when, minutes):
    class Told:
        zone = CITY

    assert quiet_ms(Quiet("22:00", "07:00"), at(when), Told) == minutes * 60_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind: wecom_app", "kind: wecomapp"), "$.channels.app.kind: command_center.channels: no 'wecomapp'; did you mean 'wecom_app'?"),
        (("corp_id: c,", "corpid: c,"), "$.channels.app"),
        (("reach: {{app: li,", "reach: {{ap: li,"), "$.people.li.reach: no channel 'ap'; did you mean 'app'?"),
        (("who: [wang]", "who: [wong]"), "$.rosters.duty.shifts[0].who: no person 'wong'; did you mean 'wang'?"),
        (("severity: [red]", "severity: [rot]"), "$.policies[0].match.severity: no colour 'rot'"),
        (("tell: [duty], by: [app, sms]", "tell: [dutty], by: [app, sms]"), "$.policies[0].steps[0].tell: no roster or person 'dutty'; did you mean 'duty'?"),
        (("repeat_s: 300", "repeat_s: 3"), "$.policies[0].repeat_s: 3.0 is too often; 30 or more"),
        (("name: rest", "name: red"), "$.policies[1].name: 'red' is there twice"),
        (("shifts: [{{who: [wang]}}]", "shifts: [{{who: [wang], begin: '8:00'}}]"), "$.rosters.duty.shifts[0].begin: '8:00' is no time of day; like \"08:00\""),
        (('secret: "env:FAKE_SECRET"', 'secret: "fake-secret"'), "a secret is not written here"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("FAKE_KEY", "k")
    monkeypatch.setenv("FAKE_SECRET", "s")
    assert change[0] in SETUP
    path = tmp_path / "notify.yaml"
    path.write_text(SETUP.replace(*change, 1).format(url="http://x"), "utf-8")
    with pytest.raises(ConfigError) as raised:
        policies.load(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))
