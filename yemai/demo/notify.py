"""Who is told in the demo, and what is done: people, vendors and a street that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.vendors import KEY, SECRET

if TYPE_CHECKING:
    from pathlib import Path

_NOTIFY = """\
# Written by the demo at every start; nothing here leaves this machine.
people:
  wang: {{name: {{zh: 王建国, en: Wang Jianguo}}, reach: {{wecom: wang, sms: "13900000001", voice: "13900000001"}}}}
  li: {{name: {{zh: 李娜, en: Li Na}}, reach: {{sms: "13900000002", voice: "13900000002"}}}}
  room: {{name: {{zh: 值班群, en: Duty room}}, reach: {{dingtalk: ""}}}}
rosters:
  duty: {{shifts: [{{who: [wang]}}]}}
channels:
  wecom: {{kind: wecom_app, corp_id: demo, agent_id: 1, secret: "file:vendor.secret", url: "{url}"}}
  dingtalk: {{kind: dingtalk_robot, token: "file:vendor.key", secret: "file:vendor.secret", url: "{url}"}}
  sms: {{kind: aliyun_sms, key_id: demo, key: "file:vendor.secret", sign_name: 叶脉演示, template: SMS_1, variables: {{level: 20, state: 20, title: 30, device: 30, value: 20, time: 20}}, url: "{url}"}}
  voice: {{kind: aliyun_voice, key_id: demo, key: "file:vendor.secret", from_number: "0564", template: TTS_1, variables: {{level: 20, title: 30}}, url: "{url}"}}
receipt_token: "file:vendor.secret"
policies:
  - name: red
    match: {{severity: [red]}}
    steps:
      - {{tell: [duty, room], by: [wecom, dingtalk, sms]}}
      - {{after_s: 60, tell: [duty, li], by: [sms]}}
      - {{after_s: 120, tell: [duty, li], by: [voice]}}
    repeat_s: 300
    repeat_most: 3
  - name: orange
    match: {{severity: [orange]}}
    steps: [{{tell: [duty, room], by: [wecom, dingtalk]}}]
  - name: lower
    match: {{severity: [yellow, blue]}}
    steps: [{{tell: [room], by: [dingtalk]}}]
    quiet: {{begin: "22:00", end: "07:00"}}
"""


def write_notify(config: Path, vendors_url: str) -> None:
    """Write ``notify.yaml`` and what it names as secrets."""
    (config / "vendor.key").write_text(KEY, "utf-8")
    (config / "vendor.secret").write_text(SECRET, "utf-8")
    (config / "notify.yaml").write_text(_NOTIFY.format(url=vendors_url), "utf-8")


_PLANS = """\
# Written by the demo at every start.
plans:
  - id: charger_overheats
    title: {zh: 充电桩过热处置, en: An EV charger overheats}
    response: II
    match: {class: [ev_charger], severity: [red, orange]}
    checklist:
      - {do: {zh: 电话核实现场有无明火, en: Ask by telephone whether anything burns}, owner: 值班员, within_s: 180}
      - {do: {zh: 疏散车位，等候断电确认, en: Clear the bays and wait until the power is off}, owner: 街道网格员, within_s: 900}
    actions:
      - {id: cut, title: {zh: 切断充电, en: Cut the charger}, metric: charging_enabled, value: 0, undo: 1, interlock: automatic, within_s: 30}
      - id: light
        title: {zh: 调亮周边灯杆, en: Brighten the poles around}
        metric: dimming
        value: 100
        undo: 40
        interlock: automatic
        around: {class: lamp_pole_controller, within_m: 700}
    tell: [{tell: [li], by: [sms]}]
    warn:
      event: {zh: 充电桩火险, en: Charger fire hazard}
      instruction: {zh: 请远离车棚，等候断电确认, en: Keep away from the shed until the power is off}
      radius_m: 150
  - id: fire
    title: {zh: 火灾确认与出动, en: Confirm a fire and turn out}
    response: I
    match: {category: [fire], severity: [red]}
    checklist:
      - {do: {zh: 调看最近视频并电话核实, en: Look at the nearest camera and ask by telephone}, owner: 值班员, within_s: 120}
      - {do: {zh: 通知微型消防站出动, en: Turn out the small fire station}, owner: 值班长, within_s: 180}
"""


def write_plans(config: Path) -> None:
    """Write ``plans.yaml``."""
    (config / "plans.yaml").write_text(_PLANS, "utf-8")
