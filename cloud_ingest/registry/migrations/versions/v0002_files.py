"""Which files were taken in last, so that a start does not take them in again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "files",
        sa.Column("producer", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
    )
