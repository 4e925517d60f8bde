"""Stored samples as frames, a day at a time: from the store that ingest writes, or from its data API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rules.frame import Frame
from telemetry.errors import Refused, Unavailable
from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloud_ingest.store import Store
    from device_profiles.vocabulary import DeviceClass

    Points = Sequence[tuple[int, float | None, int]]

DAY_MS = 86_400_000
_WAIT_S = 60.0


class Source(Protocol):
    """Whoever has the samples."""

    def points(self, device_class: str, device: str, metric: str, span: tuple[int, int]) -> Points:
        """Return ``(time, value, quality)``, ascending, of a span that includes both its ends (UTC ms)."""


class FromStore:
    """The store itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def points(self, device_class: str, device: str, metric: str, span: tuple[int, int]) -> Points:
        """See the seam."""
        return self._store.history(device_class, device, metric, span, 0, "mean")


class FromApi:
    """The data API of a running ingest; ``token`` where it asks for one."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url, self._headers = url.rstrip("/"), {"Authorization": f"Bearer {token}"} if token else {}

    def devices(self, device_class: str) -> list[dict[str, Any]]:
        """Return the registered devices of a class."""
        found: list[dict[str, Any]] = self._get("devices", {"class": device_class})
        return found

    def points(self, device_class: str, device: str, metric: str, span: tuple[int, int]) -> Points:  # noqa: ARG002 - of the seam
        """See the seam; raise :class:`Refused` where a day has more points than are given at once."""
        asked = {"device": device, "metric": metric, "from_ms": span[0], "to_ms": span[1]}
        told = self._get("history", asked)
        if told["truncated"]:
            raise Refused(
                f"{device} {metric}: more points a day than the API gives; use --config with the store"
            )
        return [(point[0], point[1], point[2]) for point in told["points"]]

    def _get(self, what: str, asked: dict[str, Any]) -> Any:
        url = f"{self._url}/api/data/{what}?{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - the operator's own address
        try:
            with urllib.request.urlopen(request, timeout=_WAIT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(f"{url}: {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"{url}: {error}") from None


def days(span: tuple[int, int]) -> list[tuple[int, int]]:
    """Cut a span (UTC ms, its end not included) into days."""
    return [(begin, min(begin + DAY_MS, span[1]) - 1) for begin in range(span[0], span[1], DAY_MS)]


def frames(
    source: Source, device_class: DeviceClass, devices: Sequence[str], span: tuple[int, int]
) -> Iterator[Frame]:
    """Return the history of devices of one class, a frame a day, also where a day is empty."""
    for day in days(span):
        parts = [_of_device(source, device_class, device, day) for device in devices]
        yield _joined(device_class.name, devices, parts)


def _of_device(
    source: Source, device_class: DeviceClass, device: str, span: tuple[int, int]
) -> tuple[Any, Any, Any]:
    by_metric = [source.points(device_class.name, device, metric, span) for metric in device_class.metrics]
    times = np.unique(np.array([point[0] for points in by_metric for point in points], np.int64))
    values = np.full((len(times), len(by_metric)), np.nan)
    quality = np.full((len(times), len(by_metric)), ABSENT, np.uint8)
    for column, points in enumerate(by_metric):
        if points:
            rows = np.searchsorted(times, np.array([point[0] for point in points], np.int64))
            values[rows, column] = [np.nan if point[1] is None else point[1] for point in points]
            quality[rows, column] = [point[2] for point in points]
    return times, values, quality


def _joined(name: str, devices: Sequence[str], parts: Sequence[tuple[Any, Any, Any]]) -> Frame:
    index = np.repeat(np.arange(len(parts), dtype=np.int32), [len(times) for times, _, _ in parts])
    times, values, quality = (np.concatenate([part[n] for part in parts]) for n in range(3))
    return Frame(name, tuple(devices), index, times, values, quality, np.zeros(len(times), np.int64))
