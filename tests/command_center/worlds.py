"""The centre's whole API over a real database, asked as somebody."""

from contextlib import asynccontextmanager

import httpx
from persons import cookie_of, keys_line

from command_center.api import make_api
from command_center.audit import Signer
from command_center.cap.issuing import Issuer
from command_center.center import Center
from command_center.config import load_config
from command_center.data import Data
from command_center.desk import Desk
from command_center.feed import Feed
from command_center.hub import Hub
from command_center.incident_view import Reader
from command_center.incidents import Incidents
from command_center.people import sealing, sessions
from command_center.people.doors import Doors
from command_center.people.gate import Gate
from command_center.people.rights import ROLES
from command_center.people.sessions import Caller
from command_center.places import Ground, Places
from command_center.planner import Planner
from command_center.plans import load as load_plans
from command_center.store import Store
from command_center.warner import Warner

OURS = {"Sec-Fetch-Site": "same-origin"}
PLANS = """
plans:
  - id: p
    title: {zh: 预案, en: Plan}
    response: I
    warn: {event: {zh: 火险, en: Fire hazard}, instruction: {zh: 远离, en: Keep away}}
    checklist: [{do: {zh: 核实, en: Check}, owner: 值班员, within_s: 60}]
    actions: [{id: siren, title: {zh: 警笛, en: Siren}, metric: siren, value: 1, interlock: two}]
"""


class World:
    """The whole API over a database, with one browser a role."""

    def __init__(self, center, clock):
        self.center, self.clock, self.api = center, clock, make_api(center)
        self.cookies = {}

    async def enter(self, role, *, login=None, name=None, areas=()):
        login = login or role.replace("_", "-")
        self.cookies[login] = await cookie_of(
            self.center.store, login, name or f"姓名 {login}", role, areas=areas, now=self.clock.now_ms()
        )

    async def ask(self, method, path, who=None, *, headers=OURS, address="10.0.0.1", **more):
        sent = dict(headers)
        if who:
            sent["Cookie"] = self.cookies[who]
        transport = httpx.ASGITransport(self.api, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as http:
            return await http.request(method, path, headers=sent, **more)


@asynccontextmanager
async def world_in(tmp_path, clock, people="", **more):
    """A centre's API over a database under ``tmp_path``, without feed, ingest or page; ``people`` is TOML."""
    (tmp_path / "plans.yaml").write_text(PLANS, "utf-8")
    config = tmp_path / "center.toml"
    config.write_text(
        'area = "test"\nbroker = { host = "127.0.0.1" }\ndata = { url = "http://127.0.0.1:1" }\n'
        f'desk = {{ url = "sqlite+aiosqlite:///{tmp_path}/desk.db" }}\nlinkage = {{ file = "plans.yaml" }}\n{keys_line(people, **more)}',
        "utf-8",
    )
    config = load_config(config)
    data = Data(config.data.url, lambda _: None, clock)
    data.known["sites"] = [{"id": "north", "street": "史河街道"}, {"id": "south", "street": "平岗街道"}]
    data.sites = {site["id"]: site for site in data.known["sites"]}
    devices = [{"id": "d", "site": "north"}, {"id": "e", "site": "south"}]
    data.known["devices"], data.devices = devices, {device["id"]: device for device in devices}
    planner = Planner(load_plans(config.linkage.file), lambda: devices)
    ground = Ground(Places(), lambda: data.devices, config.incidents)
    hub = Hub()
    parts = Incidents(
        config.incidents,
        ground,
        dict,
        planner.plans,
        lambda changed: hub.publish("incidents", sorted(changed)),
    )
    issuer = Issuer("desk.example", config.title, "Asia/Shanghai")
    warner = Warner(issuer, planner.plans, ground.place, lambda _: None)
    async with Store(config.desk.url) as store, data:
        desk = Desk(store, clock, followers=[planner, parts, warner])
        gate, doors = (
            Gate(config.people, store, clock, secure=False),
            Doors(config.people, store, clock, "test", await sealing.ready(store, config.codes_key)),
        )
        feed = Feed(config, desk, lambda _: None, clock)
        signer = Signer(tmp_path / "audit.key")
        center = Center(
            config, store, desk, data, feed, hub, clock, signer, parts, Reader(planner.plans, None, lambda _: None),
            gate, doors, planner=planner, warner=warner,
        )  # fmt: skip
        one = World(center, clock)
        for role in ROLES:
            if role != "wall":
                await one.enter(role)
        async with store.change() as db:
            key, _ = await sessions.begin(db, "wall", "wall:大厅", Caller(), clock.now_ms(), 10**9)
        one.cookies["wall"] = f"yemai={key}"
        yield one
