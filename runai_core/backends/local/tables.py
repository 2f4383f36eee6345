"""The tables of the embedded database: objects, the log of changes, two counters, and measurements.

Every kind of object lives in one table as a JSON document; the columns beside
it are those that names, versions and ownership are enforced by. A change of
this schema needs a migration in `migrations/versions` and a new `HEAD`.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

HEAD = "0002"
"""Revision of the schema below; revisions are numbers, so that newer and older can be told apart."""

METADATA = MetaData()

OBJECTS = Table(
    "objects",
    METADATA,
    Column("uid", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("project", String(253), nullable=False),
    Column("name", String(253), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", Float(53), nullable=False),  # seconds since the epoch, UTC, as all times
    Column("updated_at", Float(53), nullable=False),
    Column("deleted_at", Float(53)),
    Column("owner", String(64), nullable=False),
    Column("document", Text, nullable=False),
)

LIVE = OBJECTS.c.deleted_at.is_(None)

Index(
    "objects_live_name",
    OBJECTS.c.kind,
    OBJECTS.c.project,
    OBJECTS.c.name,
    unique=True,
    sqlite_where=LIVE,
    postgresql_where=LIVE,
)
Index("objects_live_age", OBJECTS.c.kind, OBJECTS.c.created_at, OBJECTS.c.uid, sqlite_where=LIVE, postgresql_where=LIVE)
Index("objects_owner", OBJECTS.c.owner, OBJECTS.c.kind)
Index("objects_deleted", OBJECTS.c.kind, OBJECTS.c.deleted_at)

CHANGES = Table(
    "changes",
    METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(64), nullable=False),
    Column("type", String(16), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("updated_at", Float(53), nullable=False),
    Column("deleted_at", Float(53)),
    Column("document", Text, nullable=False),
)

COUNTERS = Table(
    "counters",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

VERSION = "version"
"""Counter: the newest resource version."""

PRUNED = "pruned"
"""Counter: changes up to this version are no longer in the log."""

SAMPLES = Table(
    "samples",
    METADATA,
    Column("level", Integer, primary_key=True, autoincrement=False),  # index in model.samples.LEVELS
    Column("entity", String(400), primary_key=True),
    Column("time", Float(53), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("document", Text, nullable=False),  # JSON: name of the metric -> value
)

Index("samples_age", SAMPLES.c.level, SAMPLES.c.time)
