"""What counts as the store's or the bus's trouble of the moment: waited out, never held against a record (runtime.md, Poison)."""

import asyncpg
from aiokafka.errors import KafkaError

CONNECTION_FAULTS = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError, TimeoutError)

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
