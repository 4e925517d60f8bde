"""One poll under way: the blocks still to ask, what was read, what went wrong, and what that makes of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from device_profiles.profile import Profile
from device_profiles.registers import Block, decode
from edge_agent.planner import items_of
from telemetry.errors import Malformed
from telemetry.quality import Quality
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device_profiles.profile import Space
    from edge_agent.driver import Device
    from edge_agent.learned import Learned
    from edge_agent.schedule import Poll


class _Split(NamedTuple):
    code: int
    left: Block
    right: Block


class Turn:
    """A poll's place in the round.  ``due`` and ``ready`` are monotonic seconds."""

    def __init__(self, poll: Poll, due: float) -> None:
        self.poll, self.due = poll, due
        self.ready = due
        """Not before: a device may want a pause between two requests."""
        self.first = 0
        """The block to begin with; another one where the first met silence."""
        self._wanted = poll.group.addresses
        self.begin()

    def begin(self) -> None:
        """Forget the turn before."""
        blocks = deque(self.poll.group.blocks)
        blocks.rotate(-self.first)
        self.queue = blocks
        self.answered = 0
        self.problem = ""
        self._image: dict[tuple[Space, int], int] = {}
        self._why: list[tuple[Block, Quality]] = []
        self._splits: list[_Split] = []
        self._refused: set[Block] = set()

    @property
    def device(self) -> Device:
        """Whose turn it is."""
        return self.poll.device

    @property
    def begun(self) -> bool:
        """Whether something was asked already."""
        return len(self.queue) < len(self.poll.group.blocks) or bool(self._splits)

    def took(self, block: Block, words: Sequence[int]) -> None:
        """Keep what a block holds; only wanted addresses count, not the holes between."""
        self.answered += 1
        for place, word in enumerate(words):
            key = (block.space, block.address + place)
            if key in self._wanted:
                self._image[key] = word

    def missed(self, block: Block, why: Quality, problem: str) -> None:
        """Note that a block brought nothing."""
        self._why.append((block, why))
        self.problem = self.problem or problem

    def split(self, block: Block, code: int) -> bool:
        """Ask the halves of a refused block instead; return whether it has halves."""
        items = items_of(
            [p for p in self.poll.group.points if p.space is block.space], self.device.profile.limits
        )
        inside = [i for i in items if block.address <= i[0] < block.address + block.count]
        if len(inside) < 2 or self.device.profile.limits.exact:
            return False
        middle = len(inside) // 2
        left, right = (
            Block(block.space, part[0][0], part[-1][1] - part[0][0])
            for part in (inside[:middle], inside[middle:])
        )
        self.queue.extendleft((right, left))
        self._splits.append(_Split(code, left, right))
        self._refused.add(block)
        return True

    def teach(self, learned: Learned) -> bool:
        """Draw the lessons of this turn's splits; return whether there were any."""
        bad = self._refused | {block for block, _ in self._why}
        lessons = [s for s in self._splits if s.left not in bad and s.right not in bad]
        for lesson in lessons:
            learned.split_worked(self.device.profile, lesson.code, lesson.left, lesson.right)
        parts = {part for split in self._splits for part in (split.left, split.right)}
        alone = [
            block for block, why in self._why if block in parts and why is Quality.REFUSED and self.answered
        ]
        for block in alone:
            learned.refused_alone(self.device.profile, block)
        return bool(lessons or alone)

    def reading(self, time_ms: int) -> Reading:
        """Return what the turn brought: a value, or the reason for none, for each metric of its group."""
        try:
            said = decode(self.device.profile, self._image)
        except Malformed as error:
            self.problem = str(error)
            return no_values(self.device, self.poll.group.metrics, time_ms, Quality.MALFORMED)
        values: dict[str, float | None] = dict(said.values)
        quality = dict(said.quality)
        for metric in self.poll.group.metrics:
            if metric not in values:
                values[metric] = None
                quality[metric] = self._reason(self.device.profile, metric)
        return Reading(
            DeviceId(self.device.id),
            time_ms,
            cast("dict[MetricName, float | None]", values),
            cast("dict[MetricName, Quality]", quality),
            said.attributes,
        )

    def _reason(self, profile: Profile, metric: str) -> Quality:
        addresses = {(p.space, a) for p in profile.points if p.metric == metric for a in p.addresses}
        for block, why in self._why:
            if any((block.space, block.address + n) in addresses for n in range(block.count)):
                return why
        return self._why[0][1] if self._why else Quality.MALFORMED


def no_values(device: Device, metrics: Sequence[str], time_ms: int, why: Quality) -> Reading:
    """Return a reading that says that there is none, and why."""
    named = [MetricName(name) for name in metrics]
    return Reading(DeviceId(device.id), time_ms, dict.fromkeys(named), dict.fromkeys(named, why))
