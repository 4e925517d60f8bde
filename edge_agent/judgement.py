"""Judges readings on the spot: the rules marked ``edge: true``, by the engine that the cloud uses.

The same samples give the same transitions under the same alarm ids, here and in the cloud.  Rules that wait for
silence (``no_data``) are the cloud's: an agent that is cut off cannot tell.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import structlog

from device_profiles.vocabulary import load_classes
from edge_agent.carried import JUDGED
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import FOLDER, RulePack, load_pack, parse_pack
from rules.state import State
from rules.topology import Spot, Topology
from telemetry.errors import ConfigError, Malformed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from edge_agent.config import JudgementConfig
    from edge_agent.linkage import Linkages
    from edge_agent.record import Recorder
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper
    from telemetry.outbox import Outbox
    from telemetry.readings import Reading
    from telemetry.transitions import Transition

_MOST_UNKEPT = 100  # rounds of judging that wait for the disk; then it is waited for
log = structlog.get_logger()


def edge_rules(classes: Collection[str], own: JudgementConfig, at: Path) -> tuple[RulePack, ...]:
    """Return the edge rules of these classes; packs of other classes are not even read.

    A pack of the district's own takes the place of the shipped one, as in the cloud: one that stands in the
    configuration ``at`` itself, or else one of its folder.  Raises :class:`ConfigError`.
    """
    if own.packs is not None and not own.packs.is_dir():
        raise ConfigError(
            at, "$.judgement.packs", f"'{own.packs}' is no folder", hint="make it, or leave it away"
        )
    packs = (pack for name in sorted(classes) if (pack := _pack(name, own, at)) is not None)
    marked = (
        RulePack(pack.device_class, tuple(r for r in pack.rules if r.edge and r.no_data is None), ())
        for pack in packs
    )
    return tuple(pack for pack in marked if pack.rules)


def _pack(name: str, own: JudgementConfig, at: Path) -> RulePack | None:
    if name in own.inline:
        try:
            return parse_pack(own.inline[name], name, at)
        except ConfigError as error:
            raise ConfigError(at, f"$.judgement.inline.{name}", str(error).removeprefix(f"{at}: ")) from None
    for folder in (own.packs, FOLDER):
        if folder is not None and (path := folder / f"{name}.yaml").exists():
            return load_pack(path)
    return None


class Judge:
    """Judges what the buses read, records what changed, and hands it to the linkages.

    :param classes: device → its class.
    :param packs: what :func:`edge_rules` returned for them.
    :param sites: device → its site, for overrides of a site; a device without one is left out.
    :param at_once: takes a reading that raised something past the report policy.
    """

    def __init__(
        self, classes: Mapping[str, str], packs: Sequence[RulePack], sites: Mapping[str, str], keeper: Keeper,
        recorder: Recorder, clock: Clock, at_once: Callable[[Reading], None],
    ) -> None:  # fmt: skip
        self._judged = {pack.device_class for pack in packs}
        topology = Topology({device: Spot(site=site) for device, site in sites.items()})
        self._classes, self._engine = classes, Engine(packs, load_classes(), topology)
        self._keeper, self._record, self._clock, self._at_once = keeper, recorder, clock, at_once
        self._state = State.empty()
        self._readings: list[Reading] = []
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._acting = 0
        self._unkept: asyncio.Queue[tuple[list[Transition], State]] = asyncio.Queue(_MOST_UNKEPT)
        self.linkages: Linkages | None = None

    async def restore(self) -> None:
        """Take up what stood before the restart, so that it neither begins nor is acted on again."""
        notes = await self._keeper.look(lambda box: {name: box.note(JUDGED + name) for name in self._judged})
        try:
            self._state = State.load({name: base64.b64decode(note) for name, note in notes.items() if note})
        except Malformed as error:
            log.warning("judgement_begins_anew", problem=str(error))

    def take(self, reading: Reading) -> None:
        """Accept a reading; never waits."""
        if self._classes.get(reading.device) in self._judged and reading.values:
            self._readings.append(reading)
            self._idle.clear()
            self._arrived.set()

    async def run(self) -> None:
        """Judge, for ever; whatever has come in the meantime is judged together."""
        async with asyncio.TaskGroup() as actions:
            actions.create_task(self._keep_all())
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                readings, self._readings = self._readings, []
                found = self.judge(readings)
                self._acting += len(found)
                self._look_idle()
                if not found:
                    continue
                for transition in found:
                    log.info(
                        "alarm",
                        change=transition.change.value,
                        rule=transition.rule,
                        device=transition.device,
                    )
                    actions.create_task(self._answer(transition))
                raised = {transition.device for transition in found}
                for reading in readings:
                    if reading.device in raised:
                        self._at_once(reading)
                await self._unkept.put((found, self._state))

    async def _answer(self, transition: Transition) -> None:
        try:
            if self.linkages is not None:
                await self.linkages.answer(transition)
        finally:
            self._acting -= 1
            self._look_idle()

    def _look_idle(self) -> None:
        if not self._readings and not self._acting:
            self._idle.set()

    async def at_rest(self) -> None:
        """Return when everything that was read is judged, and every alarm is answered."""
        await self._idle.wait()

    async def settle(self) -> None:
        """Wait until what was judged is on record, as far as the disk takes it."""
        await self._unkept.join()

    async def _keep_all(self) -> None:
        """Record what changed, in its order: beside the judging, which waits for no slow disk."""
        while True:
            found, state = await self._unkept.get()
            try:
                await self._keep(found, state)
            finally:
                self._unkept.task_done()

    def judge(self, readings: Sequence[Reading]) -> list[Transition]:
        """Return what changed."""
        by_class: dict[str, list[Reading]] = {}
        for reading in readings:
            by_class.setdefault(self._classes[reading.device], []).append(reading)
        found: list[Transition] = []
        now = self._clock.now_ms()
        for name, mine in by_class.items():
            frame = Frame.of(mine, load_classes()[name])
            self._state, transitions = self._engine.evaluate(self._state, frame, now)
            found += transitions
        return found

    async def _keep(self, found: Sequence[Transition], state: State) -> None:
        """Record what changed together with the state that knows of it."""
        dumps = {t.device_class: base64.b64encode(state.dump(t.device_class)).decode() for t in found}

        def write(box: Outbox) -> None:
            for name, dump in dumps.items():
                box.set_note(JUDGED + name, dump)
            self._record(box, transitions=found)

        try:
            await self._keeper.transact(write)
        except Unavailable as error:  # the site has acted; the cloud judges the readings itself
            log.error("judgement_not_kept", problem=str(error))
