"""An invented district: classes, sites, devices, streets and alarm texts for the fake centre."""

from __future__ import annotations

import math
import time
from typing import Any

from command_center.people.rights import RIGHTS

LEVELS = {"red": "I", "orange": "II", "yellow": "III", "blue": "IV"}
Json = dict[str, Any]
PERSON: Json = {
    "person": {"login": "zhao", "name": "赵敏", "roles": ["dispatcher"], "areas": []},
    "rights": sorted(RIGHTS),
    "idle": False,
}
"""Who is signed in; he may everything."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def text(zh: str, en: str) -> Json:
    return {"zh": zh, "en": en}


def gauge(unit: str, zh: str, en: str) -> Json:
    return {"unit": unit, "kind": "gauge", "label": text(zh, en), "states": {}, "bits": {}}


def state(zh: str, en: str, *words: Json) -> Json:
    return {
        "unit": "",
        "kind": "state",
        "label": text(zh, en),
        "states": {str(n): w for n, w in enumerate(words)},
        "bits": {},
    }


CLASSES: Json = {
    "ev_charger": {
        "label": text("电动汽车充电桩", "EV charger"),
        "metrics": {
            "voltage_l1": gauge("V", "L1 相电压", "Voltage L1"),
            "current_l1": gauge("A", "L1 相电流", "Current L1"),
            "active_power": gauge("W", "有功功率", "Active power"),
            "import_energy": gauge("kWh", "累计电量", "Energy"),
            "temperature": gauge("degC", "温度", "Temperature"),
            "vehicle_state": state(
                "车辆状态",
                "Vehicle state",
                text("未连接", "No vehicle"),
                text("已连接", "Connected"),
                text("充电中", "Charging"),
            ),
        },
    },
    "smoke_detector": {
        "label": text("烟雾探测器", "Smoke detector"),
        "metrics": {
            "smoke_alarm": state("烟雾报警", "Smoke alarm", text("正常", "Normal"), text("报警", "Alarm")),
            "fault": state("故障", "Fault", text("无", "None"), text("有", "Fault")),
        },
    },
    "manhole_cover": {
        "label": text("智能井盖", "Manhole cover"),
        "metrics": {
            "cover_state": state("井盖状态", "Cover", text("关闭", "Closed"), text("移位", "Moved")),
            "tilt": gauge("deg", "倾角", "Tilt"),
            "water_distance": gauge("mm", "水面距离", "Distance to water"),
            "battery": gauge("%", "电量", "Battery"),
        },
    },
    "air_monitor": {
        "label": text("空气质量监测仪", "Air monitor"),
        "metrics": {
            "pm2_5": gauge("ug/m3", "PM2.5", "PM2.5"),
            "pm10": gauge("ug/m3", "PM10", "PM10"),
            "co2": gauge("ppm", "二氧化碳", "Carbon dioxide"),
        },
    },
    "electrical_fire_monitor": {
        "label": text("电气火灾监控探测器", "Electrical fire monitor"),
        "metrics": {
            "residual_current": gauge("mA", "剩余电流", "Residual current"),
            "cable_temperature_1": gauge("degC", "1 路线缆温度", "Cable temperature 1"),
            "cable_temperature_2": gauge("degC", "2 路线缆温度", "Cable temperature 2"),
        },
    },
}
SITES = [
    ("kaifaqu", "经济开发区充电站", "Development Zone charging station", "观山路", 0.012, 0.010),
    ("shihe_bridge", "史河大桥", "Shihe Bridge", "沿河大道", -0.020, 0.004),
    ("yeji_square", "叶集人民广场", "Yeji People's Square", "民强路", 0.002, -0.002),
    ("furniture_park", "家居产业园", "Furniture industry park", "兴叶大道", 0.018, -0.010),
    ("hospital", "叶集区人民医院", "Yeji People's Hospital", "花园路", -0.006, 0.012),
    ("school", "叶集中学", "Yeji High School", "芮祠路", -0.010, -0.010),
    ("old_town", "老街片区", "Old town", "明强路", -0.016, -0.004),
    ("water_works", "第二水厂", "Second waterworks", "滨河路", -0.026, -0.014),
]
TITLES = {
    "ev_charger": (
        "temperature",
        "ev_charger.overheat",
        "warning",
        text("充电桩过温", "Charger overheats"),
        96.4,
        95.0,
        "degC",
    ),
    "smoke_detector": (
        "smoke_alarm",
        "smoke_detector.fire",
        "fire",
        text("烟雾报警", "Smoke alarm"),
        1.0,
        1.0,
        "",
    ),
    "manhole_cover": (
        "water_distance",
        "manhole_cover.water_high",
        "warning",
        text("井下水位过高", "Water high in manhole"),
        412.0,
        500.0,
        "mm",
    ),
    "air_monitor": (
        "pm2_5",
        "air_monitor.no_data",
        "fault",
        text("设备无数据", "No data from device"),
        None,
        None,
        "",
    ),
    "electrical_fire_monitor": (
        "residual_current",
        "electrical_fire_monitor.residual_current",
        "fire",
        text("剩余电流超限", "Residual current too high"),
        342.0,
        300.0,
        "mA",
    ),
}
NORMAL = {
    "voltage_l1": 231.4, "current_l1": 15.8, "active_power": 3650.0, "import_energy": 18422.7, "temperature": 41.2, "vehicle_state": 2.0,
    "smoke_alarm": 0.0, "fault": 0.0, "cover_state": 0.0, "tilt": 1.2, "water_distance": 1840.0, "battery": 87.0,
    "pm2_5": 38.0, "pm10": 61.0, "co2": 512.0, "residual_current": 61.0, "cable_temperature_1": 32.6, "cable_temperature_2": 31.9,
}  # fmt: skip


def districts(count: int) -> list[Json]:
    """Devices of the invented district, spread over its sites; beyond 100 they scatter."""
    kinds = list(CLASSES)
    rows = []
    for n in range(count):
        kind = kinds[n % len(kinds)]
        site = SITES[(n // len(kinds)) % len(SITES)]
        spread = 0.0004 * (n // (len(kinds) * len(SITES)) + 1) if count <= 100 else 0.00006 * n / 20
        angle = n * 2.399963
        rows.append({
            "id": f"{kind.split('_')[0][:3]}-{n:03d}",
            "name": {lang: f"{word}{n + 1:02d}" if lang == "zh" else f"{word} {n + 1:02d}" for lang, word in CLASSES[kind]["label"].items()},
            "class": kind, "profile": f"example_{kind}", "site": site[0], "agent": f"agent-{n % 6 + 1}",
            "lon": 115.905 + site[4] + spread * math.cos(angle), "lat": 31.85 + site[5] + spread * math.sin(angle) * 0.85,
            "owner": "叶集区城市运行中心", "period_s": 2.0, "status": "online",
        })  # fmt: skip
    return rows


def streets() -> Json:
    """A plausible grid of streets with a river road."""
    lines = []
    for n, (_, zh, en, street, dx, dy) in enumerate(SITES):
        del zh, en
        along = [[115.905 + dx + k * 0.004, 31.85 + dy + 0.0012 * math.sin(k + n)] for k in range(-8, 9)]
        across = [[115.905 + dx + 0.001 * math.sin(k + n), 31.85 + dy + k * 0.0032] for k in range(-7, 8)]
        lines += [(street, along), ("", across)]
    return {"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "LineString", "coordinates": line}, "properties": {"name": text(name, name)}} for name, line in lines
    ]}  # fmt: skip
