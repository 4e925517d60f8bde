"""One site: every class that may stand there, each folded away until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board, Subject, row, start
from dashboards.boards.device_class import latest, not_good
from dashboards.panels import FEW, chart
from dashboards.queries import devices_heard, lines_by
from device_profiles.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.look import Look

_TAGS = ("site",)


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return the site board."""
    uid = look.uid("site")
    note = look.say("展开某一类别才会查询其数据。", "A class is asked for when its row is opened.")
    board = start(
        look, uid, look.say("站点", "Site"), note=note, places=("area", "street", "site"), single="site"
    )
    heard = [devices_heard(s.name, look.pick(s.of.label), tags=_TAGS) for s in subjects]
    slowest = max(subject.period_s for subject in subjects)
    board.with_panel(
        chart(
            look,
            look.say("有上报的设备数", "Devices heard"),
            heard,
            period_s=min(slowest, 60),
            width=24,
            most=FEW,
        )
    )
    for subject in subjects:
        fold = row(look.pick(subject.of.label), collapsed=True)
        fold.with_panel(latest(look, subject, _TAGS).height(6))
        for metric in subject.kinds(Kind.GAUGE):
            query = lines_by(subject.name, ("mean", metric.name), "device", tags=_TAGS)
            fold.with_panel(
                chart(
                    look, look.pick(metric.label), [query], metric.unit, limits=subject.steps(metric),
                    period_s=subject.period_s,
                )
            )  # fmt: skip
        fold.with_panel(not_good(look, subject, _TAGS))
        board.with_row(fold)
    yield Board(uid, board)
