"""Boards reach a Grafana, and no board of somebody else's is touched."""

import asyncio
import copy

import pytest
from aiohttp import web
from fake_grafana import ALL, GOOD_TOKEN, FakeGrafana
from typer.testing import CliRunner

from dashboards.generate import generate
from dashboards.look import Look
from dashboards.push import Grafana
from telemetry.config import Secret
from telemetry.errors import Refused, Unavailable
from yemai.commands.boards import app

EN = Look("en")
SOME = "yemai-en-overview"
ALL_BOARDS = generate(EN)
FEW = {uid: ALL_BOARDS[uid] for uid in (SOME, "yemai-en-site", "yemai-en-platform")}
COUNT = len(FEW)


@pytest.fixture(autouse=True)
def few_boards(monkeypatch):
    """Three are as good as all for whether a board is touched or not."""
    monkeypatch.setattr("dashboards.push.generate", lambda _: copy.deepcopy(FEW))


@pytest.fixture
async def fake():
    server = FakeGrafana()
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def push(fake, token=GOOD_TOKEN, look=EN, **how):
    def work():
        grafana = Grafana(fake.url, Secret(token))
        grafana.check(look)
        return {done.uid: done for done in grafana.push(look, **how)}

    return await asyncio.to_thread(work)


def counted(done):
    return {
        what: sum(1 for one in done.values() if one.what == what)
        for what in {one.what for one in done.values()}
    }


async def test_all_boards_go_in(fake, monkeypatch):
    monkeypatch.setattr("dashboards.push.generate", lambda _: ALL_BOARDS)
    assert counted(await push(fake)) == {"created": len(ALL_BOARDS)}


async def test_the_first_push_makes_the_folder_and_every_board_and_the_second_changes_nothing(fake):
    assert counted(await push(fake)) == {"created": COUNT}
    assert fake.folders == {"yemai-en": "Yemai"}
    assert all(board["meta"]["folderUid"] == "yemai-en" for board in fake.boards.values())
    fake.writes.clear()
    assert counted(await push(fake)) == {"unchanged": COUNT}
    assert fake.writes == []


async def test_a_dry_run_tells_what_would_change_and_writes_nothing(fake):
    assert counted(await push(fake, dry_run=True)) == {"created": COUNT}
    await push(fake)
    edited = copy.deepcopy(FEW[SOME])
    edited["panels"][1]["title"] = "Renamed"
    edited["refresh"] = "5s"
    fake.put(edited, "yemai-en")
    fake.writes.clear()
    told = (await push(fake, dry_run=True))[SOME]
    assert told.what == "updated"
    assert "~ refresh" in told.changes
    assert "- panel 'Renamed'" in told.changes
    assert fake.writes == []
    assert fake.boards[SOME]["dashboard"]["refresh"] == "5s"


async def test_a_board_that_was_changed_there_is_brought_back(fake):
    await push(fake)
    edited = copy.deepcopy(FEW[SOME])
    edited["panels"] = edited["panels"][:1]
    fake.put(edited, "yemai-en")
    assert counted(await push(fake)) == {"unchanged": COUNT - 1, "updated": 1}
    assert counted(await push(fake)) == {"unchanged": COUNT}


async def test_foreign_boards_are_never_touched(fake):
    await push(fake)
    squatter = {"uid": SOME, "title": "Mine", "tags": ["private"], "panels": []}
    neighbour = {"uid": "somebody", "title": "Theirs", "tags": ["yemai-en"], "panels": []}
    elsewhere = {"uid": "yemai-en-copy", "title": "A copy", "tags": ["yemai-en"], "panels": []}
    fake.put(squatter, "general")
    fake.put(neighbour, "yemai-en")
    fake.put(elsewhere, "general")
    done = await push(fake, prune=True)
    assert done[SOME].what == "foreign"
    assert fake.boards[SOME]["dashboard"]["title"] == "Mine"
    assert {"somebody", "yemai-en-copy"} <= set(fake.boards)


async def test_a_board_that_is_made_no_more_is_told_of_and_deleted_only_on_demand(fake):
    await push(fake)
    fake.put(
        {"uid": "yemai-en-class-abolished", "title": "Gone", "tags": ["yemai-en"], "panels": []}, "yemai-en"
    )
    assert (await push(fake))["yemai-en-class-abolished"].what == "left"
    assert (await push(fake, dry_run=True, prune=True))["yemai-en-class-abolished"].what == "deleted"
    assert "yemai-en-class-abolished" in fake.boards
    assert (await push(fake, prune=True))["yemai-en-class-abolished"].what == "deleted"
    assert "yemai-en-class-abolished" not in fake.boards


async def test_a_wrong_token_is_told_with_the_way_out(fake):
    with pytest.raises(Refused, match="does not know the token; make one under Administration") as told:
        await push(fake, token="glsa_wrong")
    assert "glsa_wrong" not in str(told.value)


@pytest.mark.parametrize(
    "missing",
    sorted(
        ALL
        - {"dashboards:delete", "dashboards:create", "folders.permissions:read", "folders.permissions:write"}
    ),
)
async def test_a_missing_permission_is_named(fake, missing):
    fake.may.discard(missing)
    with pytest.raises(Refused, match=f"not permitted.*needs.*{missing}"):
        await push(fake)


@pytest.mark.parametrize("version", ["9.5.21", "13.0.0"])
async def test_another_version_is_refused(fake, version):
    fake.version = version
    with pytest.raises(Refused, match=f"is Grafana {version}, the boards are for 10 to 12"):
        await push(fake)


@pytest.mark.parametrize("version", ["10.4.19", "11.6.0", "12.2.1"])
async def test_versions_10_to_12_are_served(fake, version):
    fake.version = version
    assert counted(await push(fake, dry_run=True)) == {"created": COUNT}


async def test_a_missing_data_source_is_named(fake):
    fake.sources.discard("yemai-prometheus")
    with pytest.raises(Refused, match=r"no data source with uid 'yemai-prometheus'.*--prometheus"):
        await push(fake)


async def test_a_board_provisioned_from_files_sends_to_export(fake):
    await push(fake)
    fake.provisioned.add(SOME)
    fake.put({**copy.deepcopy(FEW[SOME]), "refresh": "5s"}, "yemai-en")
    with pytest.raises(Refused, match=r"Cannot save provisioned dashboard; .* `yemai boards export`"):
        await push(fake)


async def test_what_is_no_grafana_is_told_apart_from_one_that_is_down(fake, free_port):
    fake.version = ""
    with pytest.raises(Refused, match="does not answer as a Grafana does"):
        await push(fake)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{free_port} cannot be reached"):
        await asyncio.to_thread(Grafana(f"http://127.0.0.1:{free_port}", Secret("x")).check, EN)
    with pytest.raises(Refused, match="give it as https"):
        Grafana("grafana.example", Secret("x"))


async def test_permissions_of_the_folder_are_set_and_those_of_teams_stay(fake):
    await push(fake)
    fake.permissions["yemai-en"] += [{"teamId": 3, "permission": 2}]
    grafana = Grafana(fake.url, Secret(GOOD_TOKEN))
    wanted = {"Viewer": "View", "Editor": "View"}
    assert await asyncio.to_thread(grafana.permit, EN, wanted)
    assert fake.permissions["yemai-en"] == [
        {"teamId": 3, "permission": 2},
        {"role": "Viewer", "permission": 1},
        {"role": "Editor", "permission": 1},
    ]
    assert not await asyncio.to_thread(grafana.permit, EN, wanted)


async def test_the_command_tells_each_board_and_ends_in_error_when_some_were_foreign(
    fake, tmp_path, monkeypatch
):
    monkeypatch.setenv("YEMAI_LANG", "en")
    token = tmp_path / "token"
    token.write_text(GOOD_TOKEN + "\n")
    words = ["push", "--url", fake.url, "--token-file", str(token), "--lang", "en", "--allow", "Viewer=View"]
    run = CliRunner().invoke
    first = await asyncio.to_thread(run, app, words)
    assert first.exit_code == 0, first.output
    assert f"created  {SOME}" in first.output
    assert f"created {COUNT}" in first.output
    fake.put({"uid": SOME, "title": "Mine", "tags": [], "panels": []}, "general")
    second = await asyncio.to_thread(run, app, words)
    assert isinstance(second.exception, Refused)
    assert f"foreign, left alone  {SOME}" in second.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lang", "fr"], "--lang 'fr': use one of"),
        (["--allow", "Viewer"], "--allow 'Viewer': write ROLE=PERMISSION"),
        (["--token-file", "/nowhere"], "--token-file /nowhere: cannot be read"),
    ],
)
def test_wrong_words_are_told(tmp_path, words, told):
    token = tmp_path / "token"
    token.write_text("x")
    result = CliRunner().invoke(
        app, ["push", "--url", "http://127.0.0.1:1", "--token-file", str(token), *words]
    )
    assert isinstance(result.exception, Refused)
    assert told in str(result.exception)
