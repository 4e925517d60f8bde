"""The pipeline: take a micro-batch, admit, store, judge, commit, and only then acknowledge.

::

    source ─▶ decode ─▶ seen before? ─▶ admit ─▶ store ─▶ rules ─▶ ledger commit ─▶ acknowledge
                            │                                      marks · rule state · quarantine
                            └── acknowledge again                  accounts · alarms to the outbox

The store is written before the ledger; a crash in between makes the batch come again, and the store takes the
same rows twice as once.  A store that is away holds the batch, and the source's window holds the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog

from cloud_ingest.admission import Admitted, admit, frames, identity, read
from cloud_ingest.ledger import Quarantined
from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.outbox import Priority
from telemetry.readings import Ack
from telemetry.transitions import AlarmMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloud_ingest.ledger import Ledger
    from cloud_ingest.registry import Registry
    from cloud_ingest.source import Delivery, Source
    from cloud_ingest.store import Store
    from device_profiles.vocabulary import DeviceClass
    from rules.engine import Engine
    from telemetry.clock import Clock
    from telemetry.transitions import Transition

MOST_MESSAGES = 400
LINGER_S = 0.05
_RETRY_S = (0.5, 5.0)
log = structlog.get_logger()


class Pipeline:
    """Owns the rule state and the newest values; everything it does runs on the ledger's thread."""

    def __init__(
        self,
        *,
        producer: str,
        ledger: Ledger,
        store: Store,
        registry: Registry,
        classes: Mapping[str, DeviceClass],
        engine: Engine,
        clock: Clock,
    ) -> None:
        self._producer, self._ledger, self._store, self._registry = producer, ledger, store, registry
        self._classes, self._engine, self._clock = classes, engine, clock
        expected = {device.id: device.device_class for device in registry.devices.values()}
        self.state = engine.expect(ledger.rule_state(), expected, clock.now_ms())
        self.latest: dict[str, dict[str, Any]] = {row["device"]: row for row in store.latest()}

    async def run(
        self, source: Source, on_thread: Callable[..., Any], alarms_changed: Callable[[], None]
    ) -> None:
        """Process micro-batches for ever; ``on_thread`` awaits a call on the ledger's thread."""
        while True:
            batch = await source.take(MOST_MESSAGES, LINGER_S)
            acks, found = await self._until_committed(batch, on_thread)
            source.done(batch)
            for agent, ack in acks:
                source.acknowledge(agent, ack)
            if found:
                alarms_changed()

    def tick(self) -> bool:
        """Let time pass for the rules; return whether there is news."""
        now = self._clock.now_ms()
        state, found = self._engine.tick(self.state, now)
        if found:
            with self._ledger.transaction():
                self._hand_on(found, now)
                self._ledger.keep_rule_state(state, {t.device_class for t in found})
            self.state = state
        return bool(found)

    def process(self, batch: Sequence[Delivery]) -> tuple[list[tuple[str, Ack]], bool]:
        """Commit one batch; return what to acknowledge and whether there are new alarms.

        Raises :class:`Unavailable`, with nothing committed, when the store or the disk refuses.
        """
        now = self._clock.now_ms()
        admitted, seen, duplicated = self._admit(batch, now)
        made = frames(admitted, self._classes)
        written = self._store.write(made, list(admitted.origins.values()), now) if made else None
        state, found = self.state, list[Any]()
        for frame in made:
            state, transitions = self._engine.evaluate(state, frame, now)
            found += transitions
        with self._ledger.transaction():
            self._ledger.mark(admitted.identities)
            self._ledger.quarantine(admitted.quarantined, now)
            for upload in admitted.uploads:
                for gap in upload.gaps:
                    self._ledger.note_gap(upload.agent, gap, now)
            self._account(admitted, duplicated, written.overwritten if written else {})
            self._hand_on(found, now)
            self._ledger.keep_rule_state(state, {frame.device_class for frame in made})
        self.state = state
        self._remember(admitted, now)
        return self._acks(seen), bool(found)

    # -- inside ----------------------------------------------------------------------------------------

    async def _until_committed(
        self, batch: Sequence[Delivery], on_thread: Callable[..., Any]
    ) -> tuple[list[tuple[str, Ack]], bool]:
        pause, troubled = _RETRY_S[0], False
        while True:
            try:
                done: tuple[list[tuple[str, Ack]], bool] = await on_thread(self.process, batch)
            except Unavailable as error:
                if not troubled:
                    log.error(
                        "cannot_commit",
                        problem=str(error),
                        messages=len(batch),
                        way_out="tried again for ever; agents keep their readings",
                    )
                troubled = True
                await self._clock.sleep(pause)
                pause = min(2 * pause, _RETRY_S[1])
            else:
                if troubled:
                    log.info("commits_again")
                return done

    def _admit(
        self, batch: Sequence[Delivery], now: int
    ) -> tuple[Admitted, list[tuple[str, str, int]], dict[str, int]]:
        admitted, duplicated = Admitted(), dict[str, int]()
        seen: list[tuple[str, str, int]] = []
        mine: set[tuple[str, str, int]] = set()
        for delivery in batch:
            upload = read(delivery)
            who = identity(delivery) if isinstance(upload, Quarantined) else upload
            key = None if who is None else (who.agent, who.boot, who.seq)
            if key is not None:
                seen.append(key)
                if key in mine or self._ledger.knows(*key):
                    samples = upload.samples if isinstance(upload, Quarantined) else upload.sample_count
                    duplicated[delivery.agent] = duplicated.get(delivery.agent, 0) + samples
                    continue
                mine.add(key)
            if isinstance(upload, Quarantined):
                admitted.quarantined.append(upload)
                admitted.note(delivery.agent, upload.samples)
                if key is not None:
                    admitted.identities.append(key)
            else:
                admit(upload, delivery.origin, self._registry, self._classes, now, admitted)
        return admitted, seen, duplicated

    def _account(
        self, admitted: Admitted, duplicated: Mapping[str, int], overwritten: Mapping[str, int]
    ) -> None:
        refused: dict[str, int] = {}
        for item in admitted.quarantined:
            refused[item.agent] = refused.get(item.agent, 0) + item.samples
        for agent, samples in admitted.samples.items():
            self._ledger.account(agent, "received", samples)
            self._ledger.account(agent, "stored", samples - refused.get(agent, 0))
        for agent, samples in duplicated.items():
            self._ledger.account(agent, "duplicated", samples)
        for device, samples in overwritten.items():
            self._ledger.account(self._registry.devices[device].agent, "overwritten", samples)

    def _hand_on(self, found: Sequence[Transition], now: int) -> None:
        for transition in found:
            log.info(
                "alarm", change=transition.change.value, rule=transition.rule, device=transition.device,
                severity=transition.severity.name.lower(), value=transition.value, retrospective=transition.retrospective,
            )  # fmt: skip
            self._ledger.outbox.put(
                lambda seq, t=transition: json.encode(  # type: ignore[misc]
                    AlarmMessage(self._producer, self._ledger.outbox.boot, seq, now, t)
                ),
                priority=Priority.ALARM,
            )

    def _remember(self, admitted: Admitted, now: int) -> None:
        for readings in admitted.readings.values():
            for reading in readings:
                known = self.latest.get(reading.device)
                if known is not None and known["time"] > reading.time:
                    continue
                self.latest[reading.device] = {
                    "device": reading.device,
                    "time": reading.time,
                    "received": now,
                    "values": {
                        k: v if v is None or math.isfinite(v) else None for k, v in reading.values.items()
                    },
                    "quality": {name: int(q) for name, q in reading.quality.items()},
                }

    def _acks(self, seen: Sequence[tuple[str, str, int]]) -> list[tuple[str, Ack]]:
        by_boot: dict[tuple[str, str], list[int]] = {}
        for agent, boot, seq in seen:
            by_boot.setdefault((agent, boot), []).append(seq)
        return [
            (agent, Ack(boot, self._ledger.committed(agent, boot, seqs)))
            for (agent, boot), seqs in by_boot.items()
        ]

    def standing(self) -> list[AlarmMessage]:
        """Return a re-assertion of each standing alarm."""
        now, boot = self._clock.now_ms(), self._ledger.outbox.boot
        return [
            AlarmMessage(self._producer, boot, 0, now, transition)
            for transition in self._engine.active(self.state)
        ]
