"""A folder that Grafana provisions itself from: data sources, board providers and the boards' files.

::

    DIR/datasources/yemai.yaml      the two data sources
    DIR/dashboards/yemai.yaml       a provider for each language, each with a folder of its own in Grafana
    DIR/boards/<lang>/<uid>.json    the boards

Grafana reads ``datasources`` and ``dashboards`` below its provisioning path (``GF_PATHS_PROVISIONING``), and the
boards wherever the providers say.  Source: Grafana, "Provision Grafana" (10 to 12).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import yaml

from dashboards.generate import generate, text
from dashboards.look import LANGUAGES, Language, Look
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_OURS = "# Written by `yemai boards export`; the next export writes it anew.\n"
_RESCAN_S = 60


class Sources(msgspec.Struct, frozen=True):
    """Where Grafana finds the data.

    ``token_file`` is a path as Grafana sees it: the token of InfluxDB 2.x and 3.x, the password of 1.x.
    """

    influx_url: str = "http://127.0.0.1:8086"
    influx_version: Literal[1, 2, 3] = 2
    database: str = "yemai"
    username: str = ""
    token_file: str = ""
    prometheus_url: str = "http://127.0.0.1:9090"


def export(
    folder: Path,
    sources: Sources,
    *,
    look: Look,
    languages: Sequence[Language] = LANGUAGES,
    seen_at: str = "",
) -> list[Path]:
    """Write the bundle and return its files; ``seen_at`` is where Grafana will find ``folder``.

    A folder with files that are not ours, where ours would go, is :class:`Refused`.
    """
    at = seen_at or str(folder.resolve())
    wanted: dict[Path, str] = {
        folder / "datasources" / "yemai.yaml": _OURS + _yaml(_data_sources(look, sources)),
        folder / "dashboards" / "yemai.yaml": _OURS + _yaml(_providers(look, languages, at)),
    }
    for language in languages:
        for uid, board in generate(msgspec.structs.replace(look, language=language)).items():
            wanted[folder / "boards" / language / f"{uid}.json"] = text(board)
    stale = _stale(folder, wanted)
    try:
        for path, told in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(told, "utf-8")
        for path in stale:
            path.unlink()
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return sorted(wanted)


def _stale(folder: Path, wanted: dict[Path, str]) -> list[Path]:
    for path in wanted:
        if path.suffix == ".yaml" and path.exists() and not path.read_text("utf-8").startswith(_OURS):
            raise Refused(f"{path} was not written by this command; move it away or export elsewhere")
    return [path for path in (folder / "boards").glob("*/yemai-*.json") if path not in wanted]


def _data_sources(look: Look, sources: Sources) -> dict[str, Any]:
    influx: dict[str, Any] = {
        "name": "Yemai InfluxDB", "uid": look.influx, "type": "influxdb", "access": "proxy", "url": sources.influx_url,
        "editable": False, "jsonData": {"dbName": sources.database, "httpMode": "POST"},
    }  # fmt: skip
    secret = f"$__file{{{sources.token_file}}}"
    if sources.influx_version == 1:
        if sources.username:
            influx["user"] = sources.username
        if sources.token_file:
            influx["secureJsonData"] = {"password": secret}
    elif sources.token_file:
        influx["jsonData"]["httpHeaderName1"] = "Authorization"
        influx["secureJsonData"] = {"httpHeaderValue1": f"Token {secret}"}
    prometheus = {
        "name": "Yemai Prometheus", "uid": look.prometheus, "type": "prometheus", "access": "proxy",
        "url": sources.prometheus_url, "editable": False, "jsonData": {"httpMethod": "POST"},
    }  # fmt: skip
    return {"apiVersion": 1, "datasources": [influx, prometheus]}


def _providers(look: Look, languages: Sequence[Language], at: str) -> dict[str, Any]:
    providers = []
    for language in languages:
        uid, title = msgspec.structs.replace(look, language=language).folder
        providers.append(
            {
                "name": uid, "orgId": 1, "type": "file", "folder": title, "folderUid": uid, "disableDeletion": False,
                "allowUiUpdates": False, "updateIntervalSeconds": _RESCAN_S,
                "options": {"path": f"{at.rstrip('/')}/boards/{language}"},
            }
        )  # fmt: skip
    return {"apiVersion": 1, "providers": providers}


def _yaml(plain: dict[str, Any]) -> str:
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
