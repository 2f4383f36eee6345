"""Objects, the log of changes, and the counters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LIVE = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    """Create the first tables in an empty database."""
    op.create_table(
        "objects",
        sa.Column("uid", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("project", sa.String(253), nullable=False),
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("deleted_at", sa.Float(53)),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    for name, columns, unique, where in (
        ("objects_live_name", ["kind", "project", "name"], True, LIVE),
        ("objects_live_age", ["kind", "created_at", "uid"], False, LIVE),
        ("objects_owner", ["owner", "kind"], False, None),
        ("objects_deleted", ["kind", "deleted_at"], False, None),
    ):
        op.create_index(name, "objects", columns, unique=unique, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "changes",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("deleted_at", sa.Float(53)),
        sa.Column("document", sa.Text, nullable=False),
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "version", "value": 0}, {"name": "pruned", "value": 0}])
