"""Ahead: alarms are told though nothing more may wait for the store.

Past ``ledger.waiting_bytes`` no reading is committed and none acknowledged: agents keep them, and send them again.  What
they send meanwhile is judged all the same, because an alarm cannot wait for a disk.  When it comes again and there is room,
it is committed and not judged a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import structlog

from cloud_ingest.admission import Admitted, made, number_of, read
from cloud_ingest.marks import Ranges
from cloud_ingest.turns import LIVE_MS
from telemetry.readings import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloud_ingest.admission import Admission
    from cloud_ingest.framelog import FrameLog
    from cloud_ingest.ledger import Ledger
    from cloud_ingest.source import Delivery
    from rules.frame import Frame

log = structlog.get_logger()


class Ahead:
    """Knows which uploads were judged before they were committed, of the newest boot of each agent.

    That is forgotten at a restart: then they are judged as what comes late, which pages nobody.
    """

    def __init__(self) -> None:
        self._judged: dict[str, tuple[str, Ranges]] = {}
        self._is_told = False

    def holds_up(self, frames: FrameLog) -> bool:
        """Return whether there is no room for readings, and say so once."""
        if frames.is_full != self._is_told:
            self._is_told = frames.is_full
            if self._is_told:
                log.error(
                    "no_room_for_readings", problem=frames.no_room,
                    way_out="mend the store; alarms are told all the same, and agents keep their readings",
                )  # fmt: skip
            else:
                log.info("room_for_readings")
        return self._is_told

    def sort(
        self, arrived: Iterable[Delivery], ledger: Ledger, admission: Admission, now_ms: int
    ) -> tuple[list[Delivery], list[Upload], Admitted]:
        """Return what can be committed without room, and the uploads that cannot, with the live ones of them admitted to be judged."""
        rest: list[Delivery] = []
        waiting: list[Upload] = []
        admitted = Admitted()
        for delivery in arrived:
            upload = read(delivery)
            if (
                not isinstance(upload, Upload)
                or not upload.readings
                or ledger.knows(upload.agent, upload.boot, upload.seq)
            ):
                rest.append(delivery)
                continue
            waiting.append(upload)
            shift = ledger.clocks.get(upload.agent, 0)
            if not self._knows(upload) and now_ms - made(upload, now_ms, shift) <= LIVE_MS:
                admission.admit(upload, delivery.origin, now_ms, shift, admitted)
        return rest, waiting, admitted

    def judged(self, uploads: Iterable[Upload]) -> None:
        """Note that these need not be judged when they come again."""
        for upload in uploads:
            boot, ranges = self._judged.get(upload.agent, ("", Ranges()))
            if boot != upload.boot:
                ranges = Ranges()
                self._judged[upload.agent] = (upload.boot, ranges)
            ranges.add(upload.seq)

    def unjudged(self, admitted: Admitted, frames: Sequence[Frame]) -> list[Frame]:
        """Return the frames of a batch with the rows that are to be judged."""
        numbers = [number_of(upload) for upload in admitted.uploads if self._knows(upload)]
        if not numbers:
            return list(frames)
        return [
            frame.rows(np.flatnonzero(~np.isin(columns.uploads, numbers)))
            for columns, frame in zip(admitted.columns.values(), frames, strict=True)
        ]

    def _knows(self, upload: Upload) -> bool:
        boot, ranges = self._judged.get(upload.agent, ("", None))
        return ranges is not None and boot == upload.boot and upload.seq in ranges
