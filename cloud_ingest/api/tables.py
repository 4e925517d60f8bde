"""Points as JSON, CSV, Parquet or an Arrow stream: a span at a time, however long the whole is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Point = tuple[int, float | None, int]

Format = Literal["json", "csv", "parquet", "arrow"]
MEDIA: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.uint8(), nullable=False),
    ]
)


def accepted(header: str) -> Format | None:
    """Return the format that an ``Accept`` header prefers among those there are, None where it names none.

    >>> accepted("text/csv;q=0.9, application/vnd.apache.parquet"), accepted("*/*"), accepted("text/html")
    ('parquet', 'json', None)
    """
    if not header.strip():
        return "json"
    weighed: list[tuple[float, str]] = []
    for part in header.split(","):
        media, _, rest = part.partition(";")
        q = next((p.strip()[2:] for p in rest.split(";") if p.strip().startswith("q=")), "1")
        try:
            weighed.append((float(q), media.strip().lower()))
        except ValueError:
            weighed.append((0.0, media.strip().lower()))
    names = {media: name for name, media in MEDIA.items()} | {
        "*/*": "json",
        "application/*": "json",
        "text/*": "csv",
    }
    for weight, media in sorted(weighed, key=lambda entry: -entry[0]):
        if media in names and weight > 0:
            return names[media]
    return None


def written(format_: Format, spans: Iterable[Sequence[Point]], about: dict[str, str]) -> Iterator[bytes]:
    """Return a table piece by piece; ``about`` (device, metric, unit) goes into the schema where there is one."""
    if format_ == "csv":
        yield b"time,value,quality\r\n"
        for points in spans:
            lines = (
                f"{time},{'' if value is None else repr(value)},{quality}\r\n"
                for time, value, quality in points
            )
            yield "".join(lines).encode()
        return
    schema = _SCHEMA.with_metadata({key: value.encode() for key, value in about.items()})
    sink = _Sink()
    arrow = format_ == "arrow"
    with pa.ipc.new_stream(sink, schema) if arrow else pq.ParquetWriter(sink, schema) as writer:
        for points in spans:
            if points:
                writer.write_batch(
                    pa.record_batch([list(column) for column in zip(*points, strict=True)], schema=schema)
                )
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Where a writer writes, and whence it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
