"""What counts as the store's or the bus's trouble of the moment: waited out, never held against a record (runtime.md, Poison)."""

import asyncpg
from aiokafka.errors import KafkaError

# OSError as a whole: a name that can't be resolved, or no route, while a failover is under way, is no ConnectionError.
# InternalClientError: what asyncpg says of a connection that dies in the middle of an answer.
CONNECTION_FAULTS = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

TRANSIENT_STORE = (
    *CONNECTION_FAULTS,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.OutOfMemoryError,
    asyncpg.DiskFullError,
)

TRANSIENT = (*TRANSIENT_STORE, KafkaError)
