"""Entry point of Alembic: runs the migrations on the connection that `database.migrate` hands over."""

from alembic import context

from runai_core.backends.local.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=False)
context.run_migrations()
