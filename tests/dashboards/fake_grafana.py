"""Grafana's HTTP API, as far as pushing boards uses it, with its rules: permissions, versions, provisioned boards.

After Grafana's documentation, "HTTP API" (dashboard, folder, folder permissions, data source, search, health), 10 to 12.
"""

import copy

from aiohttp import web

GOOD_TOKEN = "glsa_" + "x" * 8
ALL = {
    "datasources:read", "folders:read", "folders:create", "dashboards:read", "dashboards:create", "dashboards:write",
    "dashboards:delete", "folders.permissions:read", "folders.permissions:write",
}  # fmt: skip
_VIEWER = {"role": "Viewer", "permission": 1}
_EDITOR = {"role": "Editor", "permission": 2}


class FakeGrafana:
    def __init__(self, version="11.4.0"):
        self.version, self.may = version, set(ALL)
        self.folders, self.boards, self.permissions = {}, {}, {}
        self.sources = {"yemai-influxdb", "yemai-prometheus"}
        self.provisioned, self.writes = set(), []
        self._ids = iter(range(1, 10_000))
        self.app = web.Application(middlewares=[self._guard])
        self.app.add_routes(
            [
                web.get("/api/health", self._health),
                web.get("/api/datasources/uid/{uid}", self._needs("datasources:read", self._source)),
                web.get("/api/folders/{uid}", self._needs("folders:read", self._folder)),
                web.post("/api/folders", self._needs("folders:create", self._make_folder)),
                web.get("/api/folders/{uid}/permissions", self._needs("folders.permissions:read", self._who)),
                web.post(
                    "/api/folders/{uid}/permissions", self._needs("folders.permissions:write", self._let)
                ),
                web.get("/api/dashboards/uid/{uid}", self._needs("dashboards:read", self._board)),
                web.delete("/api/dashboards/uid/{uid}", self._needs("dashboards:delete", self._delete)),
                web.post("/api/dashboards/db", self._needs("dashboards:write", self._save)),
                web.get("/api/search", self._needs("dashboards:read", self._search)),
            ]
        )

    def put(self, board, folder):
        """As if a person had saved it."""
        there = self.boards.get(board["uid"])
        version = there["dashboard"]["version"] + 1 if there else 1
        self.boards[board["uid"]] = {
            "dashboard": {**copy.deepcopy(board), "id": next(self._ids), "version": version},
            "meta": {"folderUid": folder, "provisioned": board["uid"] in self.provisioned},
        }
        return version

    @web.middleware
    async def _guard(self, request, handler):
        if request.path != "/api/health" and request.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}":
            return web.json_response({"message": "Invalid API key"}, status=401)
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        return await handler(request)

    def _needs(self, permission, handler):
        async def guarded(request):
            if permission not in self.may:
                told = {"accessErrorId": "ACE1", "message": f"You'll need additional permissions to perform this action. Permissions needed: {permission}", "title": "Access denied"}  # fmt: skip
                return web.json_response(told, status=403)
            return await handler(request)

        return guarded

    async def _health(self, _):
        return web.json_response({"commit": "abc", "database": "ok", "version": self.version})

    async def _source(self, request):
        uid = request.match_info["uid"]
        if uid not in self.sources:
            return web.json_response({"message": "Data source not found"}, status=404)
        return web.json_response({"id": 1, "uid": uid})

    async def _folder(self, request):
        uid = request.match_info["uid"]
        if uid not in self.folders:
            return web.json_response({"message": "folder not found", "status": "not-found"}, status=404)
        return web.json_response({"uid": uid, "title": self.folders[uid], "id": 1, "version": 1})

    async def _make_folder(self, request):
        told = await request.json()
        if told["uid"] in self.folders:
            return web.json_response({"message": "a folder with the same uid exists"}, status=409)
        self.folders[told["uid"]] = told["title"]
        self.permissions[told["uid"]] = [_VIEWER, _EDITOR]
        return web.json_response({"uid": told["uid"], "title": told["title"]})

    async def _who(self, request):
        uid = request.match_info["uid"]
        if uid not in self.folders:
            return web.json_response({"message": "folder not found"}, status=404)
        return web.json_response([{"inherited": False, "uid": uid, **item} for item in self.permissions[uid]])

    async def _let(self, request):
        self.permissions[request.match_info["uid"]] = (await request.json())["items"]
        return web.json_response({"message": "Folder permissions updated"})

    async def _board(self, request):
        found = self.boards.get(request.match_info["uid"])
        if found is None:
            return web.json_response({"message": "Dashboard not found"}, status=404)
        return web.json_response(found)

    async def _delete(self, request):
        del self.boards[request.match_info["uid"]]
        return web.json_response({"message": "Dashboard deleted"})

    async def _save(self, request):
        told = await request.json()
        board, there = told["dashboard"], self.boards.get(told["dashboard"]["uid"])
        if told["folderUid"] not in self.folders:
            return web.json_response({"message": "folder not found"}, status=400)
        if there:
            if there["meta"].get("provisioned"):
                return web.json_response({"message": "Cannot save provisioned dashboard"}, status=400)
            if not told["overwrite"] and board.get("version") != there["dashboard"]["version"]:
                told = {
                    "message": "The dashboard has been changed by someone else",
                    "status": "version-mismatch",
                }
                return web.json_response(told, status=412)
        version = self.put(board, told["folderUid"])
        return web.json_response({"uid": board["uid"], "status": "success", "version": version})

    async def _search(self, request):
        tag = request.query["tag"]
        return web.json_response(
            [
                {"uid": uid, "title": found["dashboard"]["title"], "folderUid": found["meta"]["folderUid"]}
                for uid, found in self.boards.items()
                if tag in found["dashboard"].get("tags", ())
            ]
        )
