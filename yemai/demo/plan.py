"""From a district to the files that its processes are started with.

Written anew at every start; only what lies under the folder's ``state/`` is kept, and it is the same for
the same district, whatever ports are free today.
"""

from __future__ import annotations

import csv
import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from command_center.people.sessions import hash_of, new_key
from telemetry.errors import Unavailable
from yemai.demo.notify import write_notify, write_plans
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from simulators.district import Agent, Bus, District

AREA = "yeji"
OUTBOX_BYTES = 256 * 1024 * 1024
_SERIAL = ("modbus_rtu", "serial_frame")


@dataclass(frozen=True)
class Plan:
    """Where everything of one demo is."""

    folder: Path
    broker_port: int
    page_url: str
    data_url: str
    simulators_url: str
    vendors_url: str
    run_file: Path
    ingest: Path
    center: Path
    agents: Mapping[str, Path]  # agent id → its configuration
    outboxes: Mapping[str, Path]
    periods_s: Mapping[str, float]  # device id → its poll or report period
    desk_url: str
    key: str  # to the desk's API, good for reading until the next start

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.folder / "logs"

    @property
    def device_count(self) -> int:
        """How many devices there are."""
        return len(self.periods_s)

    def period_s(self, device: str) -> float:
        """Seconds between two readings of a device."""
        return self.periods_s[device]


def make_plan(district: District, folder: Path, *, page_port: int, seed: int) -> Plan:
    """Write all files under ``folder``; raise :class:`Unavailable` when the page's port is taken."""
    if not _is_free(page_port):
        raise Unavailable(
            say(
                f"端口 {page_port} 已被占用；用 --port 另选一个",
                f"port {page_port} is in use; choose another with --port",
            )
        )
    config, state = folder / "config", folder / "state"
    for place in (config, state, folder / "dev"):
        place.mkdir(parents=True, exist_ok=True)
    networked = [bus for agent in district.agents for bus in agent.buses if bus.kind not in _SERIAL]
    broker, data, control, vendors, *bus_ports = _free_ports(4 + len(networked))
    ends: dict[str, dict[str, Any]] = {
        bus.id: {"link": str(folder / "dev" / bus.id)} for agent in district.agents for bus in agent.buses
    }
    for bus, port in zip(networked, bus_ports, strict=True):
        ends[bus.id] = {"host": "127.0.0.1", "port": port} if bus.kind == "nbiot_udp" else {"port": port}
    run_file = config / "simulators.json"
    run_file.write_text(
        json.dumps({"seed": seed, "control_port": control, "buses": ends}, indent=1), encoding="utf-8"
    )

    outboxes = {agent.id: state / f"{agent.id}.outbox.db" for agent in district.agents}
    agents = {}
    for agent in district.agents:
        agents[agent.id] = _write(
            config / f"{agent.id}.toml", _agent(agent, broker, outboxes[agent.id], ends)
        )
    _registry(district, config)
    write_notify(config, f"http://127.0.0.1:{vendors}")
    write_plans(config)
    key = new_key()
    _places(district, config / "places.yaml")
    page_url, data_url = f"http://127.0.0.1:{page_port}", f"http://127.0.0.1:{data}"
    return Plan(
        folder=folder,
        broker_port=broker,
        page_url=page_url,
        data_url=data_url,
        simulators_url=f"http://127.0.0.1:{control}",
        vendors_url=f"http://127.0.0.1:{vendors}",
        run_file=run_file,
        ingest=_write(config / "ingest.toml", _ingest(broker, data, config, state)),
        center=_write(
            config / "center.toml",
            _center(
                broker, page_port, data_url, state, district, _streets(district, config / "streets.geojson")
            )
            | {"people": _people(key)},
        ),
        agents=agents,
        outboxes=outboxes,
        periods_s={
            device.id: bus.period_s
            for agent in district.agents
            for bus in agent.buses
            for device in bus.devices
        },
        desk_url=_desk_url(state),
        key=key,
    )


def _agent(agent: Agent, broker: int, outbox: Path, ends: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "agent": agent.id,
        "area": AREA,
        "broker": {"host": "127.0.0.1", "port": broker},
        "outbox": {"path": str(outbox), "max_bytes": OUTBOX_BYTES},
        "commands": {"allow": [{"by": "center", "metrics": ["charging_enabled", "dimming"]}]},
        "buses": [
            {
                "id": bus.id,
                "driver": bus.kind,
                "period_s": bus.period_s,
                "link": _link(bus, ends[bus.id]),
                "devices": [
                    {
                        "id": device.id,
                        "profile": device.profile,
                        **({"unit": device.unit} if device.unit is not None else {}),
                        **({"identity": device.identity} if device.identity else {}),
                        **({"parameters": dict(device.parameters)} if device.parameters else {}),
                    }
                    for device in bus.devices
                ],
            }
            for bus in agent.buses
        ],
    }


def _link(bus: Bus, end: Mapping[str, Any]) -> dict[str, Any]:
    if bus.kind in _SERIAL:
        return {"port": end["link"], "baud": bus.baud}
    return {"host": "127.0.0.1", "port": end["port"]}


def _ingest(broker: int, api: int, config: Path, state: Path) -> dict[str, Any]:
    return {
        "area": AREA,
        "producer": "ingest-1",
        "broker": {"host": "127.0.0.1", "port": broker},
        "store": {"kind": "duckdb", "path": str(state / "samples.duckdb")},
        "ledger": {"path": str(state / "ledger.db")},
        "registry": {"devices": str(config / "devices.csv"), "sites": str(config / "sites.csv")},
        "api": {"host": "127.0.0.1", "port": api},
    }


def _center(
    broker: int, page: int, data_url: str, state: Path, district: District, streets: Path
) -> dict[str, Any]:
    return {
        "area": AREA,
        "broker": {"host": "127.0.0.1", "port": broker},
        "desk": {"url": _desk_url(state)},
        "audit": {"key": str(state / "audit.key"), "checkpoints": str(state / "audit.checkpoints")},
        "notify": {"file": "notify.yaml"},
        "linkage": {"file": "plans.yaml"},
        "places": {"file": "places.yaml"},
        "cap": {"sender": "demo.yemai.invalid", "name": {"zh": "叶脉演示指挥中心", "en": "Yemai demo"}},
        "data": {"url": data_url},
        "page": {"host": "127.0.0.1", "port": page},
        "title": {"zh": f"叶脉 · {district.name.zh}指挥中心", "en": f"Yemai · {district.name.en}"},
        "map": {"streets": str(streets)},
    }


def _desk_url(state: Path) -> str:
    return f"sqlite+aiosqlite:///{state / 'desk.db'}"


def _people(key: str) -> dict[str, Any]:
    """One factor is enough for people who do not exist."""
    return {
        "second_factor": False,
        "prove_again_min": 0,
        "keys": [
            {"name": "demo", "sha256": hash_of(key), "rights": ["read", "alarm.acknowledge", "plan.task"]}
        ],
    }


def _places(district: District, path: Path) -> None:
    """Write a camera for each site, which sees nothing."""
    cameras = [
        {
            "id": f"cam-{site.id}", "name": {"zh": f"{site.name.zh}摄像机", "en": f"Camera, {site.name.en}"},
            "lon": site.lon, "lat": site.lat, "url": f"https://video.invalid/{site.id}", "within_m": 400,
        }
        for site in district.sites
    ]  # fmt: skip
    path.write_text(json.dumps({"cameras": cameras}, ensure_ascii=False), encoding="utf-8")


def _streets(district: District, path: Path) -> Path:
    """Write the streets as GeoJSON (RFC 7946) for the map's background."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": {"zh": street.name.zh, "en": street.name.en}, "main": street.main},
            "geometry": {"type": "LineString", "coordinates": street.line},
        }
        for street in district.streets
    ]
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False), encoding="utf-8"
    )
    return path


def _registry(district: District, config: Path) -> None:
    _write_csv(
        config / "sites.csv",
        ("site", "name_zh", "name_en", "street", "lon", "lat", "department"),
        ((s.id, s.name.zh, s.name.en, s.street, s.lon, s.lat, s.department) for s in district.sites),
    )
    departments = {site.id: site.department for site in district.sites}
    rows = [
        (d.id, d.name.zh, d.name.en, d.profile, agent.id, d.site, *district.place(d), departments[d.site])
        for agent in district.agents
        for bus in agent.buses
        for d in bus.devices
    ]
    _write_csv(
        config / "devices.csv",
        ("device", "name_zh", "name_en", "profile", "agent", "site", "lon", "lat", "owner"),
        rows,
    )


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def _write(path: Path, tables: Mapping[str, Any]) -> Path:
    path.write_text(toml(tables), encoding="utf-8")
    return path


def toml(tables: Mapping[str, Any], prefix: str = "") -> str:
    """Write plain data as TOML: the standard library reads it but does not write it.

    >>> print(toml({"a": 1, "b": {"c": "x"}, "d": [{"e": True, "f": {"g": 2}}]}))
    a = 1
    <BLANKLINE>
    [b]
    c = "x"
    <BLANKLINE>
    [[d]]
    e = true
    <BLANKLINE>
    [d.f]
    g = 2
    """
    plain = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in tables.items()
        if _is_plain(value)
    ]
    parts = ["\n".join(plain)] if plain else []
    for key, value in tables.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            parts.append(f"[{name}]\n" + toml(value, f"{name}."))
        elif not _is_plain(value):
            parts += [f"[[{name}]]\n" + toml(item, f"{name}.") for item in value]
    return "\n\n".join(parts).rstrip() if not prefix else "\n\n".join(parts)


def _is_plain(value: object) -> bool:
    return not isinstance(value, dict) and not (
        isinstance(value, list) and value and isinstance(value[0], dict)
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    """Ports that are free for TCP and UDP now; all are held until the last is found, so none comes twice."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            tcp = held.enter_context(socket.socket())
            tcp.bind(("127.0.0.1", 0))
            udp = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            try:
                udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            except OSError:
                continue
            ports.append(tcp.getsockname()[1])
        return ports
