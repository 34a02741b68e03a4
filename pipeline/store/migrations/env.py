"""Alembic's entry: runs inside the transaction that engine.py opened, so that a killed migration leaves nothing."""

from alembic import context

from pipeline.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata,
                  transactional_ddl=False, render_as_batch=True)
context.run_migrations()
