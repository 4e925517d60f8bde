"""What models teach by refusing: holes that may not be read across, and how much one request may hold.

Manuals leave it out, and two firmwares of one model differ.  It is kept per model in a file beside the outbox, so
that a restart asks right from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from device_profiles.profile import Profile, Space
from edge_agent.planner import Reach

if TYPE_CHECKING:
    from pathlib import Path

    from device_profiles.registers import Block

ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3
log = structlog.get_logger()


class Lesson(msgspec.Struct, omit_defaults=True):
    """What one model has taught."""

    illegal: list[tuple[Space, int, int]] = []  # closed ranges of addresses
    longest: int | None = None  # registers in one request


class Learned:
    """All lessons, kept in ``path``; without one, in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.lessons: dict[str, Lesson] = {}
        if path is not None and path.exists():
            try:
                self.lessons = msgspec.json.decode(path.read_bytes(), type=dict[str, Lesson])
            except (
                msgspec.DecodeError,
                OSError,
            ) as error:  # it is learned again; never a reason not to start
                log.warning("lessons_unreadable", file=str(path), problem=str(error))

    @property
    def count(self) -> int:
        """How many limits were learned, of all models."""
        return sum(len(lesson.illegal) + (lesson.longest is not None) for lesson in self.lessons.values())

    def reach(self, profile: Profile) -> Reach:
        """Return where a read of this model may go."""
        lesson = self.lessons.get(profile.id)
        if lesson is None:
            return Reach(profile.limits)
        holes = {(space, a) for space, first, last in lesson.illegal for a in range(first, last + 1)}
        return Reach(profile.limits, frozenset(holes), lesson.longest)

    def split_worked(self, profile: Profile, code: int, left: Block, right: Block) -> None:
        """Note that two requests were answered which, as one, were refused with exception ``code``."""
        first, last = left.address + left.count, right.address - 1
        lesson = self.lessons.setdefault(profile.id, Lesson())
        if code == ILLEGAL_ADDRESS and first <= last:
            lesson.illegal.append((left.space, first, last))
            log.info("learned", model=profile.id, illegal=f"{left.space} {first}-{last}")
        else:
            longest = max(left.count, right.count)
            lesson.longest = longest if lesson.longest is None else min(lesson.longest, longest)
            log.info("learned", model=profile.id, longest=lesson.longest)
        self._keep()

    def refused_alone(self, profile: Profile, block: Block) -> None:
        """Note a value that is refused by itself while its neighbours answer: it is asked alone from now on."""
        lesson = self.lessons.setdefault(profile.id, Lesson())
        lesson.illegal.append((block.space, block.address, block.address + block.count - 1))
        log.info(
            "learned", model=profile.id, illegal=f"{block.space} {block.address}-{lesson.illegal[-1][2]}"
        )
        self._keep()

    def _keep(self) -> None:
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self.lessons)))
            fresh.replace(self._path)
        except OSError as error:  # a full disk: the lesson holds until the next start
            log.warning("lessons_not_kept", file=str(self._path), problem=str(error))
