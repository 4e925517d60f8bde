"""Puts boards into a running Grafana by its HTTP API, and touches none but its own.

A board is ours when its uid is ours *and* it bears our tag.  ``overwrite`` is never said: a board that somebody saved
between our look and our save is not overwritten but reported.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import requests
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaUnauthorizedError

from dashboards.changes import changes
from dashboards.generate import generate
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.look import Look
    from telemetry.config import Secret

VERSIONS = range(10, 13)
_TIMEOUT_S = 20.0
_MAY = {"View": 1, "Edit": 2, "Admin": 4}
What = Literal["created", "updated", "unchanged", "foreign", "left", "deleted"]


class Done(msgspec.Struct, frozen=True):
    """What became, or with a dry run would become, of one board."""

    uid: str
    what: What
    changes: tuple[str, ...] = ()


class Grafana:
    """One Grafana and a service account's token for it."""

    def __init__(self, url: str, token: Secret) -> None:
        self._url = url.rstrip("/")
        if not re.fullmatch(r"https?://[^/\s@]+(/[^\s?#]*)?", self._url):
            raise Refused(
                f"'{url}' is no address of a Grafana; give it as https://HOST[:PORT][/PATH], without a user"
            )
        path = "/" if self._url.count("/") > 2 else ""  # the client puts 'api' right behind it
        self._api = GrafanaApi.from_url(self._url + path, token.reveal(), timeout=_TIMEOUT_S)

    def check(self, look: Look) -> str:
        """Make sure that it is a Grafana we know, with the boards' data sources; return its version."""
        with self._told("asked for its health"):
            health = self._api.health.check()
        version = str(health.get("version", "")) if isinstance(health, dict) else ""
        major = version.split(".")[0]
        if not major.isdigit():
            raise Refused(f"{self._url} does not answer as a Grafana does; is the address right?")
        if int(major) not in VERSIONS:
            known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
            raise Refused(
                f"{self._url} is Grafana {version}, the boards are for {known}; use `yemai boards export` or another Grafana"
            )
        for uid, option in ((look.influx, "--influx"), (look.prometheus, "--prometheus")):
            with self._told(f"asked for data source '{uid}'", needs="datasources:read"):
                if self._found(self._api.datasource.get_datasource_by_uid, uid) is None:
                    raise Refused(
                        f"{self._url} has no data source with uid '{uid}'; make it, or name yours with {option}"
                    )
        return version

    def push(self, look: Look, *, dry_run: bool = False, prune: bool = False) -> Iterator[Done]:
        """Create or update the boards of one language in their folder; yield what became of each."""
        wanted = generate(look)
        self._folder(look, dry_run=dry_run)
        for uid, board in wanted.items():
            yield self._board(look, uid, board, dry_run=dry_run)
        with self._told("searched for boards", needs="dashboards:read"):
            tagged = self._api.search.search_dashboards(tag=look.tag, type_="dash-db", limit=5000)
        ours = {
            hit["uid"] for hit in tagged
            if hit.get("folderUid") == look.folder[0] and hit["uid"].startswith(f"{look.uid()}-")
        }  # fmt: skip
        for uid in sorted(ours - wanted.keys()):
            if prune and not dry_run:
                with self._told(f"told to delete '{uid}'", needs="dashboards:delete"):
                    self._api.dashboard.delete_dashboard(uid)
            yield Done(uid, "deleted" if prune else "left")

    def permit(self, look: Look, roles: dict[str, str], *, dry_run: bool = False) -> bool:
        """Let roles view or edit the folder, as ``{"Viewer": "View"}``; return whether that is a change.

        What teams and people were given there stays.
        """
        uid = look.folder[0]
        with self._told(f"asked who may see folder '{uid}'", needs="folders.permissions:read"):
            found = self._found(self._api.folder.get_folder_permissions, uid) or []
        kept = [_grant(item) for item in found if not item.get("inherited") and not item.get("role")]
        items = kept + [{"role": role, "permission": _MAY[may]} for role, may in roles.items()]
        before = {(item.get("role"), item["permission"]) for item in found if item.get("role")}
        if before == {(role, _MAY[may]) for role, may in roles.items()}:
            return False
        if not dry_run:
            with self._told(f"told who may see folder '{uid}'", needs="folders.permissions:write"):
                self._api.folder.update_folder_permissions(uid, {"items": items})
        return True

    # -- inside ----------------------------------------------------------------------------------------

    def _folder(self, look: Look, *, dry_run: bool) -> None:
        uid, title = look.folder
        with self._told(f"asked for folder '{uid}'", needs="folders:read"):
            found = self._found(self._api.folder.get_folder, uid)
        if found is None and not dry_run:
            with self._told(f"told to make folder '{uid}'", needs="folders:create"):
                self._api.folder.create_folder(title, uid)

    def _board(self, look: Look, uid: str, board: dict[str, Any], *, dry_run: bool) -> Done:
        with self._told(f"asked for board '{uid}'", needs="dashboards:read"):
            found = self._found(self._api.dashboard.get_dashboard, uid)
        there: dict[str, Any] = {} if found is None else found["dashboard"]
        if found is not None and look.tag not in (there.get("tags") or ()):
            return Done(uid, "foreign")
        differ = () if found is None else tuple(changes(there, board))
        moved = found is not None and found.get("meta", {}).get("folderUid", look.folder[0]) != look.folder[0]
        if moved:
            differ = (*differ, f"~ folder: {found['meta']['folderUid']} → {look.folder[0]}")
        if found is not None and not differ:
            return Done(uid, "unchanged")
        if not dry_run:
            version = {"version": there["version"], "id": there.get("id")} if found is not None else {}
            with self._told(f"told to save board '{uid}'", needs="dashboards:create and dashboards:write"):
                self._api.dashboard.update_dashboard(
                    {
                        "dashboard": {**board, **version}, "folderUid": look.folder[0], "overwrite": False,
                        "message": "yemai boards push",
                    }
                )  # fmt: skip
        return Done(uid, "created" if found is None else "updated", differ)

    @staticmethod
    def _found(call: Any, *arguments: object) -> Any:
        try:
            return call(*arguments)
        except GrafanaClientError as error:
            if error.status_code == 404:
                return None
            raise

    @contextmanager
    def _told(self, doing: str, *, needs: str = "") -> Iterator[None]:
        """Map whatever Grafana or the way to it says to an error with a way out."""
        try:
            yield
        except GrafanaUnauthorizedError:
            raise Refused(
                f"{self._url} does not know the token; make one under Administration → Service accounts"
            ) from None
        except GrafanaException as error:
            status, said = error.status_code, _said(error)
            if status == 403:
                way = f"the service account needs {needs}" if needs else "the service account may not"
                raise Refused(f"{self._url}, {doing}: not permitted ({said}); {way}") from None
            if status == 412:
                raise Refused(
                    f"{self._url}, {doing}: {said}; somebody saved it meanwhile or took its title, look and push again"
                ) from None
            if "provisioned" in said:
                raise Refused(
                    f"{self._url}, {doing}: {said}; it comes from files there, use `yemai boards export`"
                ) from None
            if status >= 500 or status == 429:
                raise Unavailable(f"{self._url}, {doing}: {status} {said}") from None
            raise Refused(f"{self._url}, {doing}: {status} {said}") from None
        except requests.exceptions.JSONDecodeError:
            raise Refused(f"{self._url} does not answer as a Grafana does; is the address right?") from None
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"{self._url} cannot be reached, {doing}: {_cause(error)}") from None


def _grant(item: dict[str, Any]) -> dict[str, Any]:
    who = {key: item[key] for key in ("teamId", "userId") if item.get(key)}
    return {**who, "permission": item["permission"]}


def _said(error: GrafanaException) -> str:
    told = error.response
    return str(told.get("message", told) if isinstance(told, dict) else told)[:300].strip()


def _cause(error: BaseException) -> str:
    while (reason := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(reason, BaseException):
            break
        error = reason
    return str(error).rpartition("> ")[2] or type(error).__name__
