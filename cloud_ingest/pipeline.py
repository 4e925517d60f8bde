"""The pipeline: take a micro-batch, admit, judge, commit, and only then acknowledge; the store follows.

::

    source ─▶ whose turn? ─▶ decode ─▶ seen before? ─▶ admit ─▶ rules ─▶ ledger commit ─▶ acknowledge
                  │                        │                                │   marks · frames · quarantine · accounts
                  └── held for later       └── acknowledge again            │   alarms to the outbox
                                                                            └─▶ store writer ─▶ store

What happens now goes before history and before what an agent sends beyond its share (:mod:`cloud_ingest.turns`): that is
worked on while the next live uploads gather.  An alarm never waits for the store, and a store that is away for hours costs nothing but the ledger's disk.
All of it but the store's own write runs on the ledger's thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from cloud_ingest.admission import Admission, Admitted, broken, identity, made, read, readmit
from cloud_ingest.ahead import Ahead
from cloud_ingest.clocks import shift_of
from cloud_ingest.flow import MOST_MESSAGES
from cloud_ingest.guarded import Guarded
from cloud_ingest.isolation import is_the_machines, isolated
from cloud_ingest.judging import topology_of
from cloud_ingest.latest import Latest
from cloud_ingest.ledger import Quarantined
from cloud_ingest.news import News
from cloud_ingest.plausibility import Plausibility
from cloud_ingest.turns import Lane, Pace, Plan, Turns
from cloud_ingest.wellbeing import devices_of
from rules.state import Journal
from telemetry.commands import ActionUpload
from telemetry.faults import Faults
from telemetry.readings import Ack, Upload
from telemetry.transitions import AlarmMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cloud_ingest.ledger import Ledger
    from cloud_ingest.metrics import Metrics
    from cloud_ingest.registry import Registry
    from cloud_ingest.source import Delivery
    from device_profiles.vocabulary import DeviceClass
    from rules.engine import Engine
    from rules.frame import Frame
    from rules.state import State
    from telemetry.clock import Clock
    from telemetry.transitions import Transition

_AGAIN_MOST = 1000
Told = tuple[list[tuple[str, Ack]], bool]
"""What to acknowledge, by agent, and whether there are new alarms."""
log = structlog.get_logger()


class Pipeline:
    """Owns the rule state and the newest values."""

    def __init__(
        self,
        *,
        producer: str,
        ledger: Ledger,
        registry: Registry,
        classes: Mapping[str, DeviceClass],
        engine: Engine,
        clock: Clock,
        metrics: Metrics,
        offset_of: Callable[[str], int | None] = lambda _: None,
        area: str = "",
    ) -> None:
        self._producer, self._ledger, self._clock = producer, ledger, clock
        self.faults = Faults(clock, lambda part: metrics.faults.labels(part).inc())
        self._engine = Guarded(engine, self.faults, clock)
        self._news = News(producer, ledger.outbox, metrics)
        self._metrics, self._offset_of, self._area = metrics, offset_of, area
        engine.topology = topology_of(registry, area)
        self._admission, self._plausibility = Admission(registry, classes), Plausibility(classes)
        self.latest = Latest(classes)
        self._turns, self._pace, self._ahead = Turns(), Pace(least=32, most=MOST_MESSAGES), Ahead()
        ledger.held.drop(self._turns.recall(ledger.held.read(), ledger.knows))
        self.state = ledger.frames.state(self._engine)
        self.use(registry)

    @property
    def registry(self) -> Registry:
        """The devices that may speak."""
        return self._admission.registry

    def use(self, registry: Registry) -> None:
        """Admit what ``registry`` says from now on, and wait for its devices."""
        self._engine.engine.topology = topology_of(registry, self._area)
        state = self._engine.expect(self.state, self._expected(registry), self._clock.now_ms())
        with self._ledger.transaction():
            self._ledger.frames.keep(state, state.classes)
        self._admission.registry, self.state = registry, state

    def judge_by(self, engine: Engine) -> None:
        """Judge by other packs from the next batch on; what rules that read as before remember is kept."""
        engine.topology = self._engine.engine.topology
        guarded = Guarded(engine, self.faults, self._clock)
        state = guarded.expect(self.state, self._expected(self.registry), self._clock.now_ms())
        with self._ledger.transaction():
            self._ledger.frames.keep(state, state.classes)
        self._ledger.frames.judged_by(guarded)
        self._engine, self.state = guarded, state

    def shadows(self) -> tuple[list[Transition], list[Transition]]:
        """Return what stands by the packs on trial, and what they told since the start, the newest last."""
        return self._engine.engine.active(self.state, shadow=True), list(self._news.shadows)

    @property
    def waits(self) -> bool:
        """Whether something waits for its turn."""
        return self._turns.waiting

    @property
    def can_go_on(self) -> bool:
        """Whether something waits for its turn, and there is room for it."""
        return self._turns.waiting and not self._ledger.frames.is_full

    def process(self, arrived: Sequence[Delivery]) -> Told:
        """Commit what has arrived, or write it down for later; return what to acknowledge and whether there are new alarms.

        Raises :class:`Unavailable`, with nothing committed or only a part, when the disk refuses.
        """
        told = isolated(arrived, self._process, lambda one, error: self._set_aside(Plan(now=[one]), error))
        self._metrics.messages.inc(len(arrived))
        return _together(told)

    def process_held(self, spare_s: float) -> Told:
        """Commit what has waited for its turn, as much as takes about ``spare_s`` seconds; otherwise like :meth:`process`."""
        if self._ledger.frames.is_full:
            return [], False
        began, served = time.perf_counter(), list[int]()

        def serve(turns: Sequence[int]) -> Told:
            plan = self._turns.next(len(turns))
            served.append(len(plan.now))
            return self._take_turn(plan, self._clock.now_ms())

        some = range(self._pace.within(spare_s))
        told = isolated(some, serve, lambda _, error: self._set_aside(self._turns.next(1), error))
        self._pace.took(sum(served), time.perf_counter() - began)
        return _together(told)

    def process_again(self) -> bool:
        """Admit what somebody wants out of quarantine; return whether there are new alarms."""
        items = self._ledger.asked_again(_AGAIN_MOST)
        if not items:
            return False
        return any(isolated(items, self._admit_again, self._keep_back))

    def tick(self) -> bool:
        """Let time pass for the rules; return whether there is news."""
        now = self._clock.now_ms()
        state, found = self._engine.tick(self.state, now)
        if found:
            with self._ledger.transaction():
                self._news.hand_on(found, now)
                self._ledger.frames.keep(state, {t.device_class for t in found})
            self.state = state
            self._news.tell(found)
        return bool(found)

    def observe(self, frames: Sequence[Frame]) -> bool:
        """Judge what goes into no store, or not yet; return whether there is news."""
        now = self._clock.now_ms()
        journal = Journal()
        try:
            state, found = self._judge(frames, now, journal)
            if found:
                with self._ledger.transaction():
                    self._news.hand_on(found, now)
                    self._ledger.frames.keep(state, {t.device_class for t in found})
        except BaseException:
            journal.undo()
            raise
        self.state = state
        self._news.tell(found)
        return bool(found)

    def rest(self) -> None:
        """Keep the whole state, so that the next start has nothing to judge again."""
        with self._ledger.transaction():
            self._ledger.frames.keep(self.state, self.state.classes)

    def standing(self) -> list[AlarmMessage]:
        """Return a re-assertion of each standing alarm."""
        return self._news.again(self._engine.engine.active(self.state), self._clock.now_ms())

    def _expected(self, registry: Registry) -> dict[str, str]:
        devices = {device.id: device.device_class for device in registry.devices.values()}
        return devices_of(registry, self._producer) | devices

    def _process(self, arrived: Sequence[Delivery]) -> Told:
        now = self._clock.now_ms()
        if self._ahead.holds_up(self._ledger.frames):
            return self._process_without_room(arrived, now)
        plan = self._turns.plan(arrived, now, self._ledger.clocks)
        try:
            told = self._take_turn(plan, now)
        except Exception as error:
            if not plan.served or is_the_machines(error):
                raise
            plan = self._turns.plan(arrived, now, self._ledger.clocks, serving=False)
            told = self._take_turn(
                plan, now
            )  # nothing that waited is theirs to answer for: its own turn comes
        self._news.turned_away(plan, self._turns)
        return told

    def _set_aside(self, plan: Plan, fault: Exception) -> Told:
        (delivery,) = plan.now
        log.error(
            "ingest_fault", agent=delivery.agent, origin=delivery.origin, exc_info=fault,
            way_out="its bytes are in quarantine; report this, and requeue them when it is mended",
        )  # fmt: skip
        return self._take_turn(plan, self._clock.now_ms(), fault)

    def _admit_again(self, items: Sequence[tuple[int, Quarantined]]) -> bool:
        now, admitted = self._clock.now_ms(), Admitted()
        for row, item in items:
            readmit(row, item, self._admission, now, self._ledger.clocks.get(item.agent, 0), admitted)
        news = self._commit(admitted, now, lambda: self._ledger.release(row for row, _ in items))
        log.info("admitted_again", entries=len(items), refused=len(admitted.quarantined))
        return news

    def _keep_back(self, entry: tuple[int, Quarantined], fault: Exception) -> bool:
        row, item = entry
        log.error(
            "ingest_fault",
            agent=item.agent,
            entry=row,
            exc_info=fault,
            way_out="it stays in quarantine; report this",
        )
        with self._ledger.transaction():
            self._ledger.keep_back(row)
        return False

    def _process_without_room(self, arrived: Sequence[Delivery], now: int) -> Told:
        """Judge readings and leave them to their agents; commit what needs no room."""
        rest, waiting, admitted = self._ahead.sort(arrived, self._ledger, self._admission, now)
        frames = [columns.frame() for columns in admitted.columns.values()]
        try:
            for frame in frames:
                self._plausibility.judge(frame)
        finally:
            self._plausibility.settle(committed=False)  # they come again
        news = self.observe(frames)
        self._ahead.judged(admitted.uploads)
        for frame in frames:
            self.latest.note(frame, now)
        self._metrics.turned_away.inc(len(waiting))
        acks, more = self._take_turn(Plan(now=rest), now)
        return acks, news or more

    def _take_turn(self, plan: Plan, now: int, fault: Exception | None = None) -> Told:
        began, row = time.perf_counter(), 0

        def note() -> None:
            nonlocal row
            self._ledger.held.drop(plan.emptied)
            row = self._ledger.held.keep(plan.hold)

        admitted, seen = self._admit(plan.now, now, fault)
        for copy in plan.copies:
            if isinstance(upload := read(copy), Upload):
                made_ms = made(upload, now, self._ledger.clocks.get(copy.agent, 0))
                admitted.count(copy.agent, made_ms, "duplicated", upload.sample_count)
        news = self._commit(admitted, now, note)
        self._turns.settle(plan, row)
        self._metrics.batch_messages.observe(len(plan.now))
        self._metrics.commit.observe(time.perf_counter() - began)
        for lane in Lane:
            self._metrics.held.labels(lane).set(self._turns.count(lane))
        return self._ledger.receipts(seen), news

    def _admit(
        self, batch: Sequence[Delivery], now: int, fault: Exception | None
    ) -> tuple[Admitted, list[tuple[str, str, int]]]:
        admitted = Admitted()
        seen: list[tuple[str, str, int]] = []
        mine: set[tuple[str, str, int]] = set()
        for delivery in batch:
            upload = read(delivery) if fault is None else broken(delivery, fault)
            who = identity(delivery) if isinstance(upload, Quarantined) else upload
            key = None if who is None else (str(who.agent), who.boot, who.seq)
            if key is not None:
                seen.append(key)
                if key in mine or self._ledger.knows(*key):
                    if isinstance(upload, Upload):
                        shift = self._ledger.clocks.get(key[0], 0)
                        admitted.count(key[0], made(upload, now, shift), "duplicated", upload.sample_count)
                    else:
                        admitted.count(key[0], upload.made_ms, "duplicated", upload.samples)
                    continue
                mine.add(key)
                admitted.identities.append(key)
            if isinstance(upload, Quarantined):
                admitted.count(upload.agent, upload.made_ms, "received", upload.samples)
                admitted.refuse(upload)
            else:
                shift = self._ledger.clocks.get(upload.agent, 0)
                self._admission.admit(upload, delivery.origin, now, shift, admitted)
        return admitted, seen

    def _commit(self, admitted: Admitted, now: int, also: Callable[[], None]) -> bool:
        frames = [columns.frame() for columns in admitted.columns.values()]
        journal, committed = Journal(), False
        try:
            for frame in frames:
                self._plausibility.judge(frame)
            state, found = self._judge(self._ahead.unjudged(admitted, frames), now, journal)
            with self._ledger.transaction():
                also()
                self._write(admitted, frames, (state, found), now)
            committed = True
        finally:
            self._plausibility.settle(committed=committed)
            if not committed:
                journal.undo()
        self.state = state
        self._news.tell(found)
        for frame in frames:
            self.latest.note(frame, now)
            self._metrics.lag.set((now - int(frame.time.max())) / 1000)
        self._metrics.admitted(admitted)
        self._metrics.waiting.set(self._ledger.frames.waiting_bytes)
        return bool(found)

    def _write(
        self, admitted: Admitted, frames: Sequence[Frame], judged: tuple[State, list[Transition]], now: int
    ) -> None:
        state, found = judged
        self._ledger.mark(admitted.identities)
        self._ledger.quarantine(admitted.quarantined, now)
        for agent, gap in admitted.gaps:
            self._ledger.note_gap(agent, gap, now)
        for upload in admitted.uploads:
            if isinstance(upload, ActionUpload):
                self._ledger.note_actions(upload, now)
        for agent in {upload.agent for upload in admitted.uploads}:
            self._correct_clock(agent)
        self._ledger.account(admitted.counts)
        numbers = [columns.uploads for columns in admitted.columns.values()]
        self._ledger.frames.append(frames, numbers, admitted.to_store, now)
        self._news.hand_on(found, now)
        self._ledger.frames.judged(state, [frame.device_class for frame in frames])

    def _judge(self, frames: Sequence[Frame], now: int, journal: Journal) -> tuple[State, list[Transition]]:
        state, found = self.state, list[Any]()
        for frame in frames:
            state, transitions = self._engine.evaluate(state, frame, now, journal)
            found += transitions
        return state, found

    def _correct_clock(self, agent: str) -> None:
        """Follow an agent's clock; in force from the next batch on, so that a batch that comes again is the same."""
        in_force = self._ledger.clocks.get(agent, 0)
        shift = shift_of(in_force, self._offset_of(agent))
        if shift != in_force:
            log.warning("clock_corrected", agent=agent, by_ms=shift, before_ms=in_force)
            self._ledger.set_clock(agent, shift)


def _together(told: Sequence[Told]) -> Told:
    acks = [ack for acks, _ in told for ack in acks]
    return acks, len(told) > 1 or any(
        news for _, news in told
    )  # what failed may have failed after its commit
