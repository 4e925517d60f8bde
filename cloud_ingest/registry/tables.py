"""The registry's tables as they are today; :mod:`cloud_ingest.registry.migrations` brings a database here."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

sites = sa.Table(
    "sites", metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("district", sa.Text, nullable=False),
    sa.Column("street", sa.Text, nullable=False),
    sa.Column("lon", sa.Double, nullable=False),  # WGS-84
    sa.Column("lat", sa.Double, nullable=False),
    sa.Column("department", sa.Text, nullable=False),
    sa.Column("origin", sa.String(16), nullable=False),
)  # fmt: skip
devices = sa.Table(
    "devices", metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name_zh", sa.Text, nullable=False),
    sa.Column("name_en", sa.Text, nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("site", sa.ForeignKey("sites.id"), nullable=False, index=True),
    sa.Column("agent", sa.String(64), nullable=False, index=True),
    sa.Column("lon", sa.Double, nullable=False),
    sa.Column("lat", sa.Double, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("serial_number", sa.Text, nullable=False),
    sa.Column("installed_on", sa.String(10), nullable=False),
    sa.Column("installed_by", sa.Text, nullable=False),
    sa.Column("bus", sa.Text, nullable=False),
    sa.Column("unit", sa.Integer),
    sa.Column("retired_on", sa.String(10), nullable=False),  # "" while in service
    sa.Column("origin", sa.String(16), nullable=False),
)  # fmt: skip
sightings = sa.Table(  # of what spoke unannounced
    "sightings", metadata,
    sa.Column("kind", sa.String(8), primary_key=True),  # device, agent
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("agent", sa.String(64), primary_key=True),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("times", sa.BigInteger, nullable=False),
)  # fmt: skip
decisions = sa.Table(  # on agents and devices
    "decisions", metadata,
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)  # fmt: skip
changes = sa.Table(  # who changed what, for ever
    "changes", metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
)  # fmt: skip
state = sa.Table(
    "state", metadata,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
)  # fmt: skip
cursors = sa.Table(  # how far each ingest has read its quarantine for sightings
    "cursors", metadata,
    sa.Column("producer", sa.String(64), primary_key=True),
    sa.Column("upto", sa.BigInteger, nullable=False),
)  # fmt: skip
files = sa.Table(  # that each ingest took in last
    "files", metadata,
    sa.Column("producer", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
)  # fmt: skip
