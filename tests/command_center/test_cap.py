"""CAP 1.2: what goes out is what the specification says, nothing public but in a person's name, nothing evil comes in."""

import contextlib
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from desks import LI, WANG, deed, opened, take
from hypothesis import given, settings
from lxml import etree
from test_incidents import DEVICES, SITES, began, change, ended, one_of
from test_lifecycle import transition

from command_center import incident_deeds, places, plans
from command_center.cap import document, incoming, issuing
from command_center.cap.feed import ATOM, atom, iri
from command_center.cap.issuing import Issuer
from command_center.cap.reading import MOST_BYTES, read
from command_center.correlation import Windows
from command_center.incident_view import Reader
from command_center.incidents import Incidents
from command_center.planner import Planner
from command_center.tables import warnings
from command_center.warner import Warner
from telemetry.errors import Malformed, Refused
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import Change

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "cap-1.2.xsd"))
ZONE = ZoneInfo("Asia/Shanghai")
NS = {"c": document.NAMESPACE}
PLANS = """
plans:
  - id: charger
    title: {zh: 充电桩过热, en: A charger overheats}
    response: II
    match: {class: [ev_charger], severity: [red, orange]}
    warn: {event: {zh: 充电桩火险, en: Charger fire hazard}, instruction: {zh: 请远离车棚, en: Keep away from the shed}, radius_m: 150}
"""


@pytest.fixture
async def desk(url, clock, tmp_path):
    (tmp_path / "plans.yaml").write_text(PLANS, "utf-8")
    book = plans.load(tmp_path / "plans.yaml")
    known = places.Places()
    parts = Incidents(Windows(), places.Ground(known, lambda: DEVICES, Windows()), lambda: SITES, book)
    issuer = Issuer("yeji.example", Text("叶集应急", "Yeji Emergency"), "Asia/Shanghai", "34150441600002")
    warner = Warner(issuer, book, parts.ground.place, lambda _: Text("充电桩 <甲>", "Charger <A>"))
    parts.closers.append(warner.closed)
    planner = Planner(book, lambda: list(DEVICES.values()))
    async with opened(url, clock, followers=[planner, parts, warner]) as one:
        one.parts, one.issuer, one.warner, one.planner = parts, issuer, warner, planner
        one.reader = Reader(book, None, lambda _: None)
        yield one


async def sent(desk):
    async with desk.store.read() as db:
        rows = (await db.execute(sa.select(warnings).order_by(warnings.c.sent_ms))).all()
    for row in rows:
        SCHEMA.assertValid(etree.fromstring(row.xml))
    return rows


def field(row, path):
    return etree.fromstring(row.xml).xpath(f"string({path})", namespaces=NS)


INCIDENT = f"inc-{began().alarm}"


async def test_a_plan_warns_ourselves_in_both_languages_and_the_document_is_schema_valid(desk, clock):
    await take(desk, began(severity=Severity.ORANGE))
    [row] = await sent(desk)
    assert (row.kind, row.status, row.scope) == ("Alert", "Actual", "Restricted")
    assert row.id == "34150441600002_20251125000000_0"
    assert field(row, "//c:sent") == "2025-11-25T00:00:00+08:00"
    assert field(row, "//c:restriction") == "内部使用，未经签发不得对外发布"
    assert field(row, "//c:info[1]/c:headline") == "充电桩 <甲>甲[II/重大]"
    assert field(row, "//c:info[2]/c:headline") == "A at Charger <A>[II]"
    assert [field(row, f"//c:info[{n}]/c:language") for n in (1, 2)] == ["zh-CN", "en"]
    assert field(row, "//c:circle") == "31.85000,115.90000 0.15"
    assert [field(row, f"//c:info[1]/c:parameter[{n}]/c:value") for n in (1, 2, 3, 4)] == [
        "橙",
        "II",
        "fire",
        "II",
    ]
    assert field(row, "//c:incidents") == INCIDENT
    clock.now += 1000
    await take(desk, began("e", after_s=1, severity=Severity.ORANGE))
    assert len(await sent(desk)) == 1, "one incident is warned of once"


async def test_it_is_public_only_when_a_named_person_signs_and_updates_and_cancels_refer_to_all_before(
    desk, clock
):
    await take(desk, began(severity=Severity.ORANGE))
    [alert] = await sent(desk)
    signed = await change(desk, desk.issuer.sign, alert.id, WANG, clock.now)
    assert (signed.document.scope, signed.document.kind, signed.signed_by) == ("Public", "Update", "王建国")
    with pytest.raises(Refused, match="already signed by 王建国"):
        await change(desk, desk.issuer.sign, signed.document.identifier, LI, clock.now)
    with pytest.raises(Refused, match="no more the latest word"):
        await change(desk, desk.issuer.sign, alert.id, LI, clock.now)
    clock.now += 60_000
    await take(desk, transition(1, Change.WORSENED, Severity.RED))
    rows = await sent(desk)
    assert [(row.kind, row.scope) for row in rows] == [("Alert", "Restricted"), ("Update", "Public"), ("Update", "Restricted")], "what nobody has read is not public"  # fmt: skip
    assert field(rows[2], "//c:references") == " ".join(
        f"yeji.example,{row.id},{field(row, '//c:sent')}" for row in rows[:2]
    )
    assert field(rows[1], "//c:info[1]/c:parameter[c:valueName='signedBy']/c:value") == "王建国"

    await take(desk, transition(2, Change.ENDED))
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    await change(desk, desk.parts.settle, clock.now)
    whole = await one_of(desk, INCIDENT)
    assert (whole["state"], [left.en for left in whole["undone"]]) == (
        "open",
        ["the public warning is not cancelled"],
    )
    cancelled = await change(desk, desk.issuer.cancel, INCIDENT, clock.now, WANG)
    assert (cancelled.document.kind, cancelled.document.scope, len(cancelled.document.references)) == ("Cancel", "Public", 3)  # fmt: skip
    await change(desk, desk.parts.settle, clock.now)
    whole = await one_of(desk, INCIDENT)
    assert (whole["state"], whole["undone"]) == ("closed", [])
    assert [m.words.zh for m in whole["timeline"] if m.stage == "warning"] == ["预警发布（内部）：充电桩 <甲>甲", "预警更新（内部）：充电桩 <甲>甲"]  # fmt: skip


async def test_a_warning_that_stayed_with_us_is_cancelled_when_its_incident_closes(desk, clock):
    await take(desk, began())
    await take(desk, ended())
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    await change(desk, desk.parts.settle, clock.now)
    rows = await sent(desk)
    assert [(row.kind, row.scope) for row in rows] == [("Alert", "Restricted"), ("Cancel", "Restricted")]
    assert await change(desk, desk.issuer.cancel, INCIDENT, clock.now, WANG) is None
    clock.now += 5_000
    await take(desk, began(after_s=4000))
    assert [row.kind for row in await sent(desk)] == ["Alert", "Cancel", "Alert"]


async def test_who_closes_an_incident_cancels_its_public_warning_in_his_own_name(desk, clock):
    await take(desk, began())
    await take(desk, ended())
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    [alert] = await sent(desk)
    await change(desk, desk.issuer.sign, alert.id, WANG, clock.now)
    with pytest.raises(Refused, match="the public warning is not cancelled"):
        await change(desk, incident_deeds.close_by_hand, INCIDENT, "", desk.parts, LI, clock.now)
    await change(desk, incident_deeds.close_by_hand, INCIDENT, "已处置", desk.parts, LI, clock.now)
    last = (await sent(desk))[-1]
    assert (last.kind, last.scope) == ("Cancel", "Public")
    assert field(last, "//c:info[1]/c:parameter[c:valueName='signedBy']/c:value") == "李娜"


async def test_an_exercise_is_called_one_in_every_line_and_can_never_be_made_public(desk, clock):
    key = await change(desk, desk.planner.drill, "charger", "d", WANG, clock.now)
    identifier = await change(desk, desk.warner.drill, key, desk.planner.named("charger"), "d", clock.now)
    [row] = await sent(desk)
    assert (row.id, row.about, row.status, row.scope) == (identifier, key, "Exercise", "Restricted")
    for tag in ("event", "headline", "description", "instruction"):
        assert field(row, f"//c:info[1]/c:{tag}").startswith("【演练】")
        assert field(row, f"//c:info[2]/c:{tag}").startswith("[EXERCISE] ")
    assert field(row, "//c:note") == "演练 / Exercise"
    with pytest.raises(Refused, match="never made public"):
        await change(desk, desk.issuer.sign, identifier, WANG, clock.now)
    async with desk.store.read() as db:
        assert await issuing.latest(db, public=True) == []


async def test_identifiers_of_the_national_form_are_31_characters_and_ten_a_second(desk, clock):
    draft = desk.warner.draft(
        desk.planner.named("charger"), desk.planner.named("charger").warn, "d", "", None
    )
    made = [await change(desk, desk.issuer.alert, f"drill/{n}", draft, clock.now) for n in range(12)]
    names = [issued.document.identifier for issued in made]
    assert {len(name) for name in names} == {31}
    assert names[9:] == [
        "34150441600002_20251125000000_9", "34150441600002_20251125000001_0", "34150441600002_20251125000001_1",
    ]  # fmt: skip


def test_the_feed_has_one_entry_a_message_whose_id_and_tag_do_not_change():
    one = document.Document("a.1", "yeji.example", 1_764_000_000_000, "Actual", "Alert", "Public", infos=())
    content, tag = atom(
        "题", "https://c.example/cap/feed.atom", "叶集", [one], "https://c.example/cap/{}.xml"
    )
    root = etree.fromstring(content)
    [entry] = root.findall(f"{{{ATOM}}}entry")
    assert entry.findtext(f"{{{ATOM}}}id") == iri(one) == "tag:yeji.example,2025-11-24:cap/a.1"
    assert entry.find(f"{{{ATOM}}}link").get("href") == "https://c.example/cap/a.1.xml"
    assert root.findtext(f"{{{ATOM}}}updated") == "2025-11-24T16:00:00Z"
    assert (
        atom("题", "https://c.example/cap/feed.atom", "叶集", [one], "https://c.example/cap/{}.xml")[1] == tag
    )
    assert atom("题", "https://c.example/cap/feed.atom", "叶集", [], "https://c.example/cap/{}.xml")[1] != tag


@given(words=st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_whatever_people_write_is_a_valid_document_or_refused(words):
    area = document.Area(words or "区", (31.85, 115.9, 0.3))
    info = document.Info("zh-CN", "Fire", words or "事", "Immediate", "Severe", "Observed", words, 1_764_000_100_000, areas=(area,))  # fmt: skip
    one = document.Document("a.1", "yeji.example", 1_764_000_000_000, "Actual", "Alert", "Restricted", note=words, infos=(info,))  # fmt: skip
    try:
        xml = document.write(one, ZONE)
    except Refused as error:
        assert "cannot stand in a CAP document" in str(error)
        return
    SCHEMA.assertValid(etree.fromstring(xml))
    if words.strip():
        assert read(xml).identifier == "a.1"


@pytest.mark.parametrize("wrong", ["a b", "a,b", "a<b", "a&b", "a\nb", ""])
def test_names_that_cap_forbids_are_refused(wrong):
    one = document.Document(wrong, "s", 0, "Actual", "Alert", "Public")
    with pytest.raises(Refused, match="identifier"):
        document.write(one, ZONE)


CAP = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>34000041600000_20261101080000_1</identifier><sender>met.example</sender>
<sent>2026-11-01T08:00:00+08:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>
<info><language>zh-CN</language><category>Met</category><event>大风</event><urgency>Expected</urgency><severity>Moderate</severity>
<certainty>Likely</certainty><expires>2026-11-01T20:00:00+08:00</expires><headline>大风蓝色预警[IV/一般]</headline><area><areaDesc>叶集区</areaDesc></area></info></alert>"""
AT = 1_793_491_200_000  # 2026-11-01T08:00:00+08:00


def test_a_message_from_outside_is_read():
    told = read(CAP.encode())
    assert (told.sender, told.kind, told.sent_ms, told.infos[0].headline, told.infos[0].areas, told.unknown) == (
        "met.example", "Alert", AT, "大风蓝色预警[IV/一般]", ("叶集区",), (),
    )  # fmt: skip
    older = CAP.replace("cap:1.2", "cap:1.1").encode("utf-16")
    assert (
        read(older.replace("UTF-8".encode("utf-16-le"), "UTF-16".encode("utf-16-le"))).infos[0].event
        == "大风"
    )


def test_a_value_that_cap_does_not_know_is_kept_and_named():
    told = read(CAP.replace("Moderate", "Gewaltig").replace("Actual", "Really").encode())
    assert (told.status, told.infos[0].severity) == ("Really", "Gewaltig")
    assert told.unknown == ("severity=Gewaltig", "status=Really")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
EVIL = {
    "billion laughs": f'<?xml version="1.0"?><!DOCTYPE alert [<!ENTITY l0 "ha">{LAUGHS}]><alert>&l9;</alert>',
    "quadratic blow-up": f'<!DOCTYPE a [<!ENTITY x "{"y" * 50_000}">]><a>{"&x;" * 10_000}</a>',
    "a file": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><alert>&x;</alert>',
    "an address": '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:1/x">]><alert>&x;</alert>',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd">%x;]><alert/>',
    "a document type": '<!DOCTYPE alert SYSTEM "http://127.0.0.1:1/alert.dtd"><alert/>',
    "an undeclared entity": "<alert>&nobody;</alert>",
    "too long": CAP + " " * MOST_BYTES,
    "cut off": CAP[:400],
    "nothing": "",
    "not XML": '{"identifier": 1}',
    "another root": '<feed xmlns="http://www.w3.org/2005/Atom"/>',
    "another version": CAP.replace("cap:1.2", "cap:3.0"),
    "no namespace": CAP.replace(' xmlns="urn:oasis:names:tc:emergency:cap:1.2"', ""),
    "no sender": CAP.replace("<sender>met.example</sender>", ""),
    "an empty event": CAP.replace("<event>大风</event>", "<event> </event>"),
    "a time without offset": CAP.replace("08:00:00+08:00</sent>", "08:00:00</sent>"),
    "no time": CAP.replace("2026-11-01T08:00:00+08:00</sent>", "yesterday</sent>"),
    "an unknown encoding": CAP.replace('encoding="UTF-8"', 'encoding="klingon"'),
}  # fmt: skip


@pytest.mark.parametrize("what", EVIL)
def test_what_is_no_cap_message_or_a_trap_is_refused_with_its_reason(what):
    with pytest.raises(Malformed, match=r"^CAP: "):
        read(EVIL[what].encode())


@given(data=st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | st.integers(0, len(CAP.encode())).map(lambda n: CAP.encode()[:n] + b"<&" + CAP.encode()[n:]))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_message_or_malformed(data):
    with contextlib.suppress(Malformed):
        read(data)


async def test_a_message_from_outside_is_kept_once_until_it_is_over_or_taken_back_by_its_own_sender(desk):
    async def receive(xml):
        return (await change(desk, incoming.take, xml.encode(), AT))[2]

    async def standing(now=AT):
        async with desk.store.read() as db:
            return [told["identifier"] for told in await incoming.standing(db, now)]

    assert await receive(CAP)
    assert not await receive(CAP), "the same again is nothing new"
    assert await standing() == ["34000041600000_20261101080000_1"]
    assert await standing(AT + 13 * 3_600_000) == []
    reference = (
        "<references>met.example,34000041600000_20261101080000_1,2026-11-01T08:00:00+08:00</references>"
    )
    cancel = CAP.replace("_1</identifier>", "_2</identifier>").replace(">Alert<", ">Cancel<").replace("</scope>", f"</scope>{reference}")  # fmt: skip
    assert await receive(cancel.replace("<sender>met.example", "<sender>evil.example"))
    assert await standing() == ["34000041600000_20261101080000_1"], "nobody takes back what another has said"
    assert await receive(cancel)
    assert await standing() == []
