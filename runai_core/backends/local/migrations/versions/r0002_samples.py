"""Measurements over time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table of measurements; nothing that is there changes."""
    op.create_table(
        "samples",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("entity", sa.String(400), primary_key=True),
        sa.Column("time", sa.Float(53), primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("samples_age", "samples", ["level", "time"])
