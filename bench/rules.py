"""Samples judged a second by all default rules of a class, in micro-batches of a thousand devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.figure import Figure, measure
from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES, BATCHES = 1000, 50


def run() -> Iterator[Figure]:
    """Measure with values far from every limit, as nearly all are."""
    classes = load_classes()
    engine, dice = Engine(load_packs(), classes), np.random.default_rng(1)
    devices = tuple(f"d{n}" for n in range(DEVICES))
    for name in ("ev_charger", "electrical_fire_monitor", "smoke_detector"):
        width = len(classes[name].metrics)
        values = dice.uniform(0, 1, (DEVICES, width))
        quality = np.zeros((DEVICES, width), np.uint8)

        def work(
            name: str = name, values: np.ndarray = values, quality: np.ndarray = quality, width: int = width
        ) -> float:
            state = State.empty()
            for batch in range(BATCHES):
                now = 1_764_000_000_000 + batch * 1000
                index = np.arange(DEVICES, dtype=np.int32)
                frame = Frame(
                    name, devices, index, np.full(DEVICES, now), values, quality, np.zeros(DEVICES, np.int64)
                )
                state, _ = engine.evaluate(state, frame, now)
            return DEVICES * BATCHES * width

        yield measure(f"rules_{name}", "samples/s", work)
