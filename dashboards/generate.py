"""Boards as JSON: made from classes and rules, written a panel a line, compared with what is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.board import subjects
from dashboards.look import LANGUAGES, Look
from telemetry import plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

GENERATED = Path(__file__).parent / "generated"
_KINDS = "dashboards.boards"


def generate(look: Look) -> dict[str, dict[str, Any]]:
    """Return uid → board, as Grafana's dashboard JSON."""
    known = subjects()
    found: dict[str, dict[str, Any]] = {}
    for kind in plugins.names(_KINDS):
        for board in plugins.load(_KINDS, kind).boards(look, known):
            plain = json.loads(json.dumps(board.builder.build(), cls=JSONEncoder))
            _number(plain["panels"])
            found[board.uid] = plain
    return found


def text(board: Mapping[str, Any]) -> str:
    """Return a board as JSON with a line for each panel and each variable: short, and yet a diff tells what changed."""
    told = []
    for key, value in board.items():
        if key == "panels":
            rows = ",\n".join(_compact(panel) for panel in value)
            told.append(f'"panels": [\n{rows}\n]')
        elif key == "templating":
            rows = ",\n".join(_compact(variable) for variable in value["list"])
            told.append(f'"templating": {{"list": [\n{rows}\n]}}')
        else:
            told.append(f'"{key}": {_compact(value)}')
    return "{\n" + ",\n".join(told) + "\n}\n"


def files() -> dict[Path, str]:
    """Return path → text of all that is to be committed."""
    return {
        GENERATED / language / f"{uid}.json": text(board)
        for language in LANGUAGES
        for uid, board in generate(Look(language)).items()
    }


def drift() -> list[str]:
    """Return the files under ``generated/`` that are not what classes and rules make today."""
    wanted = files()
    stale = [path for path, told in wanted.items() if not path.exists() or path.read_text("utf-8") != told]
    left = [path for path in GENERATED.glob("*/*.json") if path not in wanted]
    return sorted(str(path.relative_to(GENERATED)) for path in [*stale, *left])


def write() -> None:
    """Write ``generated/`` anew."""
    wanted = files()
    for path in GENERATED.glob("*/*.json"):
        if path not in wanted:
            path.unlink()
    for path, told in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, "utf-8")


def _number(panels: list[dict[str, Any]]) -> None:
    """Give panels their ids, which links and annotations go by, and no panel a note of nothing."""
    place = 0
    for panel in panels:
        for each in (panel, *panel.get("panels", ())):
            place += 1
            each["id"] = place
            if not each.get("description"):
                each.pop("description", None)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
