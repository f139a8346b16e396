"""Alembic's environment: runs on the connection that `spine.migrate` hands over, inside the service's own schema."""

from alembic import context

connection = context.config.attributes["connection"]
schema = context.config.attributes["schema"]

context.configure(
    connection=connection,
    version_table_schema=schema,
    # One transaction for all: a half-migrated schema would be neither the old service's nor the new one's.
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
