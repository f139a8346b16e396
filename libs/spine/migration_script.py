"""Runs a script of several statements inside a migration."""

from alembic import op


def run_script(sql: str) -> None:
    """Execute statements separated by semicolons, in the migration's own transaction. A prepared statement takes only one."""
    connection = op.get_bind().connection.dbapi_connection
    if connection is None:
        raise RuntimeError("the migration has no connection")
    connection.run_async(lambda driver: driver.execute(sql))
