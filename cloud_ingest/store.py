"""The seam behind which samples are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rules.frame import Frame

    TagsOf = Callable[[str], Mapping[str, str]]
    """Where a device is and what it is: ``{"site": …, "area": …, "profile": …}``."""

Aggregate = Literal["mean", "min", "max", "last"]


class Rejected(msgspec.Struct, frozen=True):
    """One row that the store refuses for what it is, as it was to be written; the rest of its batch stands."""

    device: str
    reason: str
    samples: int
    payload: bytes


class Written(msgspec.Struct, frozen=True):
    """So many samples are there now, and these rows are not."""

    samples: int
    rejected: tuple[Rejected, ...] = ()


class Store(Protocol):
    """Idempotent: the same frames written twice leave the same rows.

    Its module has ``Config``, the ``[store]`` table beside ``kind``, and ``Store(config, classes, tags_of)``, which
    connects to nothing yet.  All methods block and may be called from any thread; a store that cannot be reached raises
    :class:`~telemetry.errors.Unavailable`.
    """

    def check(self) -> None:
        """Make sure that it can be used now, at little cost."""

    def replaces(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]]) -> dict[str, int] | None:
        """Return how many samples of each device a write of these frames would put in the place of others.

        Others are those that another upload, or an earlier row, has put at the same device, metric and time.  None when
        no row meets any.  The writer asks before it writes and keeps the answer: afterwards nobody could tell.
        """

    def write(self, frames: Sequence[Frame], batch: Sequence[Sequence[int]], received_ms: int) -> Written:
        """Write frames; ``batch[k][row]`` names the upload that a row came with.

        All of them are durable when it returns, but for what it tells as rejected.
        """

    def latest(self) -> list[dict[str, Any]]:
        """Return the newest row of each device: ``{device, time, values, quality}``."""

    def history(
        self,
        device_class: str,
        device: str,
        metric: str,
        span: tuple[int, int],
        step_ms: int,
        aggregate: Aggregate,
    ) -> list[tuple[int, float | None, int]]:
        """Return ``(time, value, quality)``, ascending; with ``step_ms`` > 0 good samples by step."""

    def gaps(
        self, device_class: str, device: str, span: tuple[int, int], longer_ms: int
    ) -> list[tuple[int, int]]:
        """Return ``(from, to)`` between two rows with a good value that are further apart than ``longer_ms``."""

    def doubts(self, device_class: str, device: str, span: tuple[int, int]) -> dict[str, int]:
        """Return the commonest quality that is not good, by metric; of metrics that have any in ``span``."""

    def count(self) -> dict[str, int]:
        """Return the samples that are there, by class."""

    def close(self) -> None:
        """Let go of it; everything committed stays."""
