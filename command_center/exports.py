"""The deliveries of a span as one signed file, which whoever was handed it can check without the desk.

It is signed by the key that signs the audit trail's checkpoints, over every field and the whole table.  That key's
public half has to come from somewhere else than the file: a forger signs with a key of his own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from command_center.audit import Signed
from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from pathlib import Path


class Export(Signed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of deliveries (CSV as text) of a span, UTC ms.

    ``whole`` is false where it lacks some: of areas its maker may not see, or past the most rows.
    """

    since_ms: int
    until_ms: int
    made_ms: int
    made_by: str
    rows: int
    whole: bool
    csv: str

    def signed_bytes(self) -> bytes:
        """Return what the signature is over: every field but itself."""
        bare = msgspec.structs.replace(self, signature="")
        return b"yemai deliveries v1\n" + msgspec.json.encode(bare, order="sorted")


def read(file: Path, key: str) -> Export:
    """Return an export that the key (public half, in hex) signed and nobody changed since.

    Raises :class:`Malformed` for what is no export, and :class:`Refused` for another key or a signature that does
    not hold.
    """
    try:
        export = msgspec.json.decode(file.read_bytes(), type=Export)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"{file}: no signed export of deliveries: {error}") from None
    if export.key != key.strip().lower():
        raise Refused(f"{file}: $.key: it names another key, {export.key or 'none'}; this centre's is {key}")
    if not export.holds():
        raise Refused(f"{file}: $.signature: it does not hold: the file was changed after it was signed")
    return export
