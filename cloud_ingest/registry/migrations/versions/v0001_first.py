"""The first schema: sites, devices, sightings, decisions, changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sites", _id("id"), *_texts("name_zh", "name_en", "district", "street"), *_place(),
        *_texts("department"), _short("origin", 16),
    )  # fmt: skip
    op.create_table(
        "devices", _id("id"), *_texts("name_zh", "name_en", "profile"),
        sa.Column("site", sa.String(64), sa.ForeignKey("sites.id"), nullable=False), _short("agent", 64), *_place(),
        *_texts("owner", "serial_number"), _short("installed_on", 10), *_texts("installed_by", "bus"),
        sa.Column("unit", sa.Integer), _short("retired_on", 10), _short("origin", 16),
    )  # fmt: skip
    op.create_index("ix_devices_site", "devices", ["site"])
    op.create_index("ix_devices_agent", "devices", ["agent"])
    op.create_table(
        "sightings", _id("kind", 8), _id("id"), _id("agent"), *_numbers("first_ms", "last_ms", "times")
    )
    op.create_table(
        "decisions", _id("kind", 8), _id("id"), sa.Column("allowed", sa.Boolean, nullable=False),
        *_texts("by"), *_numbers("at_ms"), *_texts("note"),
    )  # fmt: skip
    op.create_table(
        "changes", sa.Column("id", sa.Integer, primary_key=True, autoincrement=True), *_numbers("at_ms"),
        *_texts("by", "what"),
    )  # fmt: skip
    op.create_table("cursors", _id("producer"), *_numbers("upto"))
    state = op.create_table("state", sa.Column("one", sa.Integer, primary_key=True), *_numbers("revision"))
    op.bulk_insert(state, [{"one": 1, "revision": 0}])


def _id(name: str, length: int = 64) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), primary_key=True)


def _short(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _place() -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double, nullable=False) for name in ("lon", "lat")]
