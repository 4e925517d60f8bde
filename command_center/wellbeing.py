"""What the centre sees of itself, as alarms on its own desk: people are told of them as of any other.

What keeps the feed from the desk cannot come by the feed: a broker or an ingest that is away, and a certificate without
which the centre itself is cut off.  Ingest and agents are watched by rules (``rules/platform/``).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from command_center.heartbeat import SILENT_S
from command_center.lifecycle import Alarm
from command_center.tables import alarms as _alarms
from telemetry.certificate import days_left
from telemetry.errors import Malformed, Unavailable
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import (
    AlarmId,
    AlarmMessage,
    Category,
    Change,
    Guidance,
    RuleId,
    Transition,
    alarm_id,
    transition_id,
)

if TYPE_CHECKING:
    from command_center.center import Center

CLASS = "command_center"
EVERY_S = 15.0
AWAY_S = 120.0
_TRIES_S = 15.0  # ingest is asked each second, and waited for five
log = structlog.get_logger()


class Verdict(NamedTuple):
    """How bad a figure is, and which limit it is past; both in the sign's unit."""

    severity: Severity | None
    value: float | None
    limit: float


class Sign(NamedTuple):
    """One thing to watch: a figure, its limits from the mildest on, and how long it must be past them."""

    figure: str
    title: Text
    category: Category
    unit: str
    limits: tuple[tuple[float, Severity], ...]
    clear: float
    for_s: float
    guidance: Guidance
    is_low_bad: bool = False

    @property
    def rule(self) -> RuleId:
        """Its name on the desk."""
        return RuleId(f"{CLASS}.{self.figure}")

    def judge(self, value: float | None, standing: Alarm | None) -> Verdict:
        """Say how bad a value is; what stands ends only at ``clear``, and goes on while nothing is known.

        >>> [SIGNS[0].judge(days, None).severity for days in (40, 29, 2, None)]
        [None, <Severity.BLUE: 1>, <Severity.ORANGE: 3>, None]
        """
        if value is None:
            return Verdict(None if standing is None else standing.severity, None, 0)
        past = [
            Verdict(severity, value, limit)
            for limit, severity in self.limits
            if (value < limit if self.is_low_bad else value > limit)
        ]
        if past:
            return past[-1]
        is_clear = value >= self.clear if self.is_low_bad else value <= self.clear
        if is_clear or standing is None:
            return Verdict(None, value, self.clear)
        limit, mildest = self.limits[0]
        return Verdict(mildest, value, limit)


SIGNS = (
    Sign(
        "certificate_days", Text("指挥中心证书将到期", "The command centre's certificate ends soon"), Category.MAINTENANCE, "d",
        ((30, Severity.BLUE), (14, Severity.YELLOW), (3, Severity.ORANGE)), 31, 0,
        Guidance(
            consequence=Text("到期后收不到报警", "from then on no alarm arrives"),
            advice=Text("`yemai pki renew 服务名`，复制证书和私钥，重启指挥中心", "`yemai pki renew NAME`, copy certificate and key, restart the centre"),
        ), is_low_bad=True,
    ),
    Sign(
        "broker_away", Text("消息中间件失联", "The broker is away"), Category.FAULT, "", ((0, Severity.ORANGE),), 0, AWAY_S,
        Guidance(
            consequence=Text("新报警到不了，存在接入服务中", "new alarms do not arrive; they wait in ingest"),
            advice=Text("启动 mosquitto，检查网络与证书", "start mosquitto, look at network and certificates"),
        ),
    ),
    Sign(
        "ingest_away", Text("接入服务失联", "Ingest is away"), Category.FAULT, "s", ((0, Severity.ORANGE),), 0, AWAY_S,
        Guidance(
            consequence=Text("数值停在此刻，新报警不再产生", "values stand still, and no new alarms are raised"),
            advice=Text("启动接入服务，查看其日志", "start ingest and read its log"),
        ),
    ),
    Sign(
        "feed_silent", Text("报警通道无心跳", "The alarm feed is silent"), Category.FAULT, "s", ((SILENT_S, Severity.ORANGE),), SILENT_S / 2, 0,
        Guidance(
            consequence=Text("接入服务在运行，但新报警可能到不了", "ingest runs, but new alarms may not arrive"),
            advice=Text("查看接入服务日志和中间件权限，必要时重启接入服务", "read ingest's log, look at the broker's rights; restart ingest if need be"),
        ),
    ),
    Sign(
        "watcher_deaf", Text("外部看门狗收不到心跳", "The watcher outside does not hear us"), Category.FAULT, "s", ((SILENT_S, Severity.YELLOW),), SILENT_S / 2, 0,
        Guidance(
            consequence=Text("指挥中心停了也没有人知道", "if the centre stopped, nobody would be told"),
            advice=Text("检查看门狗及其地址、密钥和网络", "look at the watcher, its address, secret and network"),
        ),
    ),
    Sign(
        "parts_broken", Text("指挥中心有部件出错", "A part of the command centre broke"), Category.FAULT, "", ((0, Severity.ORANGE),), 0, 0,
        Guidance(
            consequence=Text("个别报警的通知、预案或记录可能缺失", "telling, plans or records of single alarms may be missing"),
            advice=Text("查看日志中的 part_broken 与 alarm_not_followed", "read part_broken and alarm_not_followed in the log"),
        ),
    ),
    Sign(
        "disk_used", Text("指挥中心磁盘将满", "Disk of the command centre fills up"), Category.FAULT, "%",
        ((85, Severity.YELLOW), (95, Severity.ORANGE)), 83, AWAY_S,
        Guidance(
            consequence=Text("满后报警记不下，也就不再确认收到", "when it is full alarms cannot be kept, and are not receipted"),
            advice=Text("清理磁盘", "make room"),
        ),
    ),
)  # fmt: skip


class Wellbeing:
    """Looks every :data:`EVERY_S` seconds."""

    def __init__(self, center: Center) -> None:
        self._center, self._clock = center, center.clock
        self._past: dict[RuleId, float] = {}  # since when, on the monotonic clock
        self._unknown = ""
        self._began_ms = center.clock.now_ms()

    async def run(self) -> None:
        """Look for ever; a desk that is away is told of elsewhere."""
        while True:
            try:
                self._center.publish(await self.look())
            except Unavailable as error:
                log.warning("own_alarms_wait", problem=str(error))
            await self._clock.sleep(EVERY_S)

    async def look(self) -> list[Alarm]:
        """Judge everything once; return the alarms that changed."""
        figures = await asyncio.to_thread(self._on_disk) | self._links()
        standing, now = await self._standing(), self._clock.now_ms()
        found = [self._judge(sign, figures.get(sign.figure), standing.get(sign.rule), now) for sign in SIGNS]
        messages = [AlarmMessage(self._center.config.consumer, "", 0, now, one) for one in found if one]
        return await self._center.desk.take(messages) if messages else []

    async def _standing(self) -> dict[str, Alarm]:
        query = sa.select(_alarms.c.body).where(
            _alarms.c.device == self._center.config.consumer, _alarms.c.is_active
        )
        async with self._center.store.read() as db:
            found = [msgspec.json.decode(body, type=Alarm) for (body,) in await db.execute(query)]
        return {alarm.rule: alarm for alarm in found if alarm.device_class == CLASS}

    def _judge(self, sign: Sign, value: float | None, alarm: Alarm | None, now: int) -> Transition | None:
        verdict = sign.judge(value, alarm)
        if alarm is not None:
            return self._changed(sign, verdict, alarm, now)
        if verdict.severity is None:
            self._past.pop(sign.rule, None)
            return None
        since = self._past.setdefault(sign.rule, self._clock.monotonic())
        if self._clock.monotonic() - since < sign.for_s:
            return None
        key = alarm_id(self._center.config.consumer, sign.rule, now)
        return self._transition(sign, verdict, (key, 0, Change.BEGAN), now)

    def _changed(self, sign: Sign, verdict: Verdict, alarm: Alarm, now: int) -> Transition:
        key, severity = AlarmId(alarm.id), verdict.severity
        if severity == alarm.severity:  # asserted once more, with what the desk has already
            return self._transition(sign, verdict, (key, alarm.ordinal, Change.BEGAN), now)
        if severity is None:
            ended = verdict._replace(severity=alarm.severity)
            return self._transition(sign, ended, (key, alarm.ordinal + 1, Change.ENDED), now)
        change = Change.WORSENED if severity > alarm.severity else Change.EASED
        return self._transition(sign, verdict, (key, alarm.ordinal + 1, change), now)

    def _transition(
        self, sign: Sign, verdict: Verdict, which: tuple[AlarmId, int, Change], now: int
    ) -> Transition:
        key, ordinal, change = which
        return Transition(
            transition_id(key, ordinal), key, change, DeviceId(self._center.config.consumer), CLASS, sign.rule,
            MetricName(sign.figure), verdict.severity or sign.limits[0][1], sign.category, sign.title, now, now,
            verdict.value, verdict.limit, sign.unit, guidance=sign.guidance,
        )  # fmt: skip

    def _links(self) -> dict[str, float]:
        """Whether the broker is away, and for how many seconds ingest is; an ingest not asked yet is not known."""
        heard = self._center.data.ok_ms
        found = {"broker_away": 0.0 if self._center.feed.connected else 1.0}
        silent = (self._clock.now_ms() - (heard or self._began_ms)) / 1000
        if silent > _TRIES_S:
            found["ingest_away"] = silent
        elif heard is not None:
            found["ingest_away"] = 0.0
            beat = self._center.feed.silent_s()
            if self._center.feed.connected and beat is not None:
                found["feed_silent"] = beat  # what is away is said by the other two
        if self._center.faults is not None:
            found["parts_broken"] = float(self._center.faults.count())
        if self._center.heartbeat is not None:
            deaf = self._center.heartbeat.unheard_s()
            if deaf is not None:
                found["watcher_deaf"] = deaf
        return found

    def _on_disk(self) -> dict[str, float]:
        config, found = self._center.config, {}
        try:
            url = sa.make_url(config.desk.url)
            if url.get_backend_name() == "sqlite" and url.database:
                usage = shutil.disk_usage(Path(url.database).resolve().parent)
                found["disk_used"] = 100 * (usage.total - usage.free) / usage.total
            if config.broker.certificate is not None:
                found["certificate_days"] = days_left(config.broker.certificate, self._clock.now_ms())
        except (OSError, Unavailable, Malformed) as error:
            if str(error) != self._unknown:
                log.warning("own_state_unknown", problem=str(error))
            self._unknown = str(error)
        return found
