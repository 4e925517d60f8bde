"""One timeline of an incident: alarm → incident → plan → linkage → read-back → notice → acknowledgement → returned → closed.

Pure: entries are made of what alarms, runs, notices and the incident's own journal already hold, so nothing is told
twice and nothing can differ from its source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from command_center.wording import COLOUR
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Stage = Literal[
    "alarm", "incident", "plan", "linkage", "notice", "duty", "warning", "acknowledgement", "returned", "closed"
]  # fmt: skip
_ORDER = ("alarm", "incident", "plan", "linkage", "notice", "duty", "warning", "acknowledgement", "returned", "closed")  # fmt: skip
_CHANGES = {"began": Text("告警产生", "began"), "worsened": Text("告警加重", "worsened"), "eased": Text("告警减轻", "eased"), "ended": Text("恢复正常", "returned to normal"), "released": Text("不再受抑制", "held back no more")}  # fmt: skip
_ACTION = {
    "waiting": Text("等待批准", "waits for approval"), "held": Text("被拦住", "held"), "requested": Text("已下令", "ordered"),
    "sent": Text("已发出", "sent"), "accepted": Text("边缘已受理", "accepted by the agent"), "executed": Text("已执行", "executed"),
    "verified": Text("回读一致", "read back as ordered"), "failed": Text("失败", "failed"), "refused": Text("被拒绝", "refused"),
    "expired": Text("已过期", "expired"), "declined": Text("不予执行", "declined"),
    "dry_run": Text("试运行，未下发", "dry run, not sent"), "drill": Text("演练，未下发", "drill, not sent"),
}  # fmt: skip
_NOTICE = {
    "pending": Text("待发送", "waits"), "sending": Text("发送中", "is being sent"), "accepted": Text("通道已接收（未证实送达）", "taken by the channel, not proven delivered"),
    "delivered": Text("已送达", "delivered"), "read": Text("已读", "read"), "acknowledged": Text("本人已应答", "answered"),
    "failed": Text("失败", "failed"), "expired": Text("已过期", "expired"), "bundled": Text("并入汇总", "told in a digest"), "cancelled": Text("不再需要", "no longer needed"),
}  # fmt: skip
_DEEDS = {
    "acknowledge": Text("确认告警", "acknowledged it"), "take_back": Text("撤回确认", "took the acknowledgement back"), "assign": Text("指派", "assigned it"),
    "comment": Text("备注", "noted"), "shelve": Text("搁置", "shelved it"), "unshelve": Text("取消搁置", "unshelved it"), "withdraw": Text("停用设备", "took the device out of service"),
    "restore": Text("恢复设备", "put the device back in service"), "reset": Text("复位", "reset it"),
}  # fmt: skip
_CLAUSES = {"severity": "颜色", "category": "事件类别", "class": "设备类别", "rule": "规则", "site": "点位", "street": "街道", "hours": "时段"}  # fmt: skip
_INCIDENT = {
    "merged": Text("并入另一事件", "merged another incident"), "merged_into": Text("被并入另一事件", "was merged into another"), "split": Text("拆出告警", "split alarms off"),
    "split_from": Text("由另一事件拆出", "was split off another"), "comment": Text("备注", "noted"), "closed": Text("事件关闭", "the incident is closed"), "reopened": Text("事件重新打开", "the incident is open again"),
}  # fmt: skip


class Moment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry; ``at_ms`` is UTC, ``kind`` finer than ``stage``."""

    at_ms: int
    stage: Stage
    kind: str
    words: Text
    alarm: str = ""
    device: str = ""
    who: str = ""
    state: str = ""


def in_order(moments: Iterable[Moment]) -> list[Moment]:
    """Return moments by time; where two are of one millisecond, as the one follows from the other."""
    return sorted(moments, key=lambda one: (one.at_ms, _ORDER.index(one.stage), one.alarm, one.device))


def of_alarm(
    alarm: Mapping[str, Any], journal: Iterable[Mapping[str, Any]], name: Callable[[str], Text]
) -> list[Moment]:
    """Return what the feed said of an alarm and what people did to it."""
    device = name(alarm["device"])
    found = []
    for entry in journal:
        kind, body, at = entry["kind"], entry["body"], entry["at_ms"]
        if kind in _CHANGES:
            stage: Stage = "returned" if kind == "ended" else "alarm"
            value = "" if body.get("value") is None else f" {body['value']:g} {body.get('unit', '')}".rstrip()
            colours = COLOUR["zh"][body["severity"]], COLOUR["en"][body["severity"]]
            title, change = body["title"], _CHANGES[kind]
            words = Text(
                f"{change.zh}：{device.zh} {title['zh']}（{colours[0]}{value}）",
                f"{device.en}, {title['en']}: {change.en} ({colours[1]}{value})",
            )
            found.append(Moment(at, stage, f"alarm.{kind}", words, alarm["id"], alarm["device"]))
        elif kind in _DEEDS:
            who = body.get("name", "")
            said = body.get("text") or body.get("to") or ""
            words = Text(
                f"{who} {_DEEDS[kind].zh}：{device.zh}" + (f"：{said}" if said else ""),
                f"{who} {_DEEDS[kind].en}: {device.en}" + (f": {said}" if said else ""),
            )
            stage = "acknowledgement" if kind in {"acknowledge", "take_back"} else "duty"
            found.append(Moment(at, stage, f"deed.{kind}", words, alarm["id"], alarm["device"], who))
    return found


def of_join(alarm: str, device: str, at_ms: int, why: Text, tie: str, name: Callable[[str], Text]) -> Moment:
    """Return that an alarm opened the incident or joined it, and why."""
    who = name(device)
    if tie == "first":
        words = Text(f"形成事件：{who.zh}", f"an incident: {who.en}")
    else:
        words = Text(f"归入事件：{who.zh}（{why.zh}）", f"{who.en} joins the incident: {why.en}")
    return Moment(
        at_ms, "incident", f"incident.{'opened' if tie == 'first' else 'joined'}", words, alarm, device
    )


def of_run(run: Mapping[str, Any], device: str, name: Callable[[str], Text]) -> list[Moment]:
    """Return which plan was chosen and why, how far each action came, and which task was done by whom."""
    alarm = run["run"]
    if run["plan"] is None:
        none = Text("没有适用的预案", "no plan fits")
        return [Moment(run["began_ms"], "plan", "plan.none", none, alarm, device)]
    mode = {"live": Text("", ""), "dry_run": Text("【试运行】", "[dry run] "), "drill": Text("【演练】", "[drill] ")}[run["mode"]]  # fmt: skip
    title = run["title"] or Text(run["plan"], run["plan"])
    why = "、".join(_CLAUSES.get(clause, clause) for clause in run["clauses"]) or "—"
    chosen = Text(
        f"{mode.zh}启动预案：{title.zh}（{run['response']} 级响应；符合 {why}）",
        f"{mode.en}plan: {title.en} (response {run['response']}; fits by {', '.join(run['clauses']) or '—'})",
    )
    found = [Moment(run["began_ms"], "plan", "plan.chosen", chosen, alarm, device)]
    for action in run["actions"]:
        target, label = name(action["device"]), action["title"]
        for state, at in action["steps"]:
            last = state == action["state"]
            problem = f"（{action['problem']}）" if last and action.get("problem") else ""
            if state == "verified" and action.get("read_back") is not None:
                problem = f"（{action['read_back']:g}）"
            said = _ACTION.get(state, Text(state, state))
            words = Text(
                f"{mode.zh}{label['zh']} · {target.zh}：{said.zh}{problem}",
                f"{mode.en}{label['en']} · {target.en}: {said.en}{problem}",
            )
            found.append(
                Moment(at, "linkage", f"action.{state}", words, alarm, action["device"], state=state)
            )
    for task in run["checklist"]:
        if task["done"]:
            who, at = task["done"]
            words = Text(f"{who} 完成：{task['do'].zh}", f"{who} did: {task['do'].en}")
            found.append(Moment(at, "duty", "task.done", words, alarm, device, who))
    return found


def of_notices(alarm: str, notices: Iterable[Mapping[str, Any]]) -> list[Moment]:
    """Return who was told by what, with what the channel has proven so far; what only waits is not yet a moment."""
    found = []
    for notice in notices:
        if notice["reason"] == "step" or notice["state"] in {"pending", "sending"}:
            continue
        who, channel, sent, done = notice["name"], notice["channel"], notice["sent_ms"], notice["done_ms"]
        zh, en = (who.zh, who.en) if isinstance(who, Text) else (who["zh"], who["en"])
        states = [(notice["state"], done or sent or notice["created_ms"])]
        if sent is not None and notice["state"] in {"delivered", "read", "acknowledged"}:
            states.insert(0, ("accepted", sent))
        for state, at in states:
            said = _NOTICE[state]
            words = Text(f"通知 {zh}（{channel}）：{said.zh}", f"{en} by {channel}: {said.en}")
            found.append(Moment(at, "notice", f"notice.{state}", words, alarm, who=en, state=state))
    return found


def of_events(events: Iterable[Mapping[str, Any]]) -> list[Moment]:
    """Return what became of the incident itself."""
    found = []
    for event in events:
        kind, body = event["kind"], event["body"]
        said = _INCIDENT.get(kind, Text(kind, kind))
        who = body.get("name", "")
        more = body.get("comment") or body.get("from") or body.get("into") or ""
        tail = f"：{more}" if more else ""
        words = Text(
            f"{who} {said.zh}{tail}".strip(), f"{who} {said.en}{f': {more}' if more else ''}".strip()
        )
        stage: Stage = "closed" if kind == "closed" else "warning" if kind.startswith("cap") else "incident"
        if "words" in body:
            words = Text(**body["words"])
        found.append(Moment(event["at_ms"], stage, f"incident.{kind}", words, who=who))
    return found
