"""Stands a service up on real engines: its database, its topics, its workers as real processes or in this one."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg

from laws.topics import TOPICS, Topic
from spine.deadline import Deadline
from spine.migrate import ensure_role, open_run, upgrade
from spine.provision import apply as apply_topics
from spine.service import Service
from spine.settings import Settings
from testkit.engines import Endpoints
from testkit.niceness import give_way

PLATFORM_RUN = "platform_20260105T000000Z"


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def with_database(dsn: str, database: str, user: str = "", password: str = "") -> str:
    """The same server's dsn for another database and, where given, another login."""
    parts = urlsplit(dsn)
    netloc = parts.netloc if not user else f"{user}:{password}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


@dataclass
class Site:
    """One isolated place on shared engines: a database of its own and a topic prefix of its own."""

    endpoints: Endpoints
    database: str
    prefix: str
    token_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    passwords: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def operator_dsn(self) -> str:
        """The operator's login to this site's database."""
        return with_database(self.endpoints.postgres_dsn, self.database)

    def dsn(self, service: str) -> str:
        """The service's own login."""
        return with_database(self.endpoints.postgres_dsn, self.database, service, self.passwords[service])

    def env(self, service: str, port: int) -> dict[str, str]:
        """The environment of one worker process of a service."""
        return {
            "FP_ENV": "local_parity",
            "FP_RELEASE_ID": "local-test",
            "FP_KAFKA_BOOTSTRAP": self.endpoints.kafka_bootstrap,
            "FP_KAFKA_SECURITY": "PLAINTEXT",
            "FP_TOPIC_PREFIX": self.prefix,
            "FP_DATABASE_URL": self.dsn(service),
            "FP_HTTP_PORT": str(port),
            "FP_TOKEN_SECRET": self.token_secret,
            **self.environment,
        }

    def settings(self, service: str, port: int = 0) -> Settings:
        """The same as settings for a worker inside this process."""
        names = {name.removeprefix("FP_").lower(): value for name, value in self.env(service, port).items()}
        timeouts = {name.removeprefix("timeout_"): float(value) for name, value in names.items() if name.startswith("timeout_")}
        plain: dict[str, object] = {name: value for name, value in names.items() if not name.startswith("timeout_")}
        if timeouts:
            plain["timeouts"] = timeouts
        return Settings.model_validate(plain)

    async def install(self, service: Service, *, platform_run_id: str | None = PLATFORM_RUN) -> None:
        """Role, schema, tables and lanes of a service, and one open run."""
        password = self.passwords.setdefault(service.name, secrets.token_hex(16))
        operator = await asyncpg.connect(self.operator_dsn)
        try:
            await ensure_role(operator, service, password)
        finally:
            await operator.close()
        await upgrade(self.operator_dsn, service)
        if platform_run_id is not None:
            await open_run(self.operator_dsn, service.name, platform_run_id)

    async def topics(self, topics: Sequence[Topic] = TOPICS) -> None:
        """Create the topics under this site's prefix."""
        await apply_topics({"bootstrap_servers": self.endpoints.kafka_bootstrap}, topics, self.prefix)

    @contextlib.asynccontextmanager
    async def store(self, schema: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A look into a service's schema, as the operator."""
        connection = await asyncpg.connect(self.operator_dsn, server_settings={"search_path": schema})
        try:
            yield connection
        finally:
            await connection.close()


async def new_site(endpoints: Endpoints) -> Site:
    """A fresh database and prefix on these engines."""
    name = f"t{secrets.token_hex(5)}"
    admin = await asyncpg.connect(endpoints.postgres_dsn)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
    finally:
        await admin.close()
    return Site(endpoints, name, f"{name}.")


_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    # A run that is killed must not leave workers behind, which would hold leases of a database that is gone.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One worker process of a service, started as it is in production."""

    def __init__(self, name: str, argv: list[str], environment: dict[str, str], port: int, log: Path, niceness: int = 0) -> None:
        self.name = name
        self._niceness = niceness
        self.port = port
        self.log = log
        self._argv = argv
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Raises RuntimeError for a process that was not started."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process

    def start(self) -> None:
        """Start, or start again."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                self._argv,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one system call, no locks: safe between fork and exec
            )
        if self._niceness:
            give_way(self._process.pid, self._niceness)

    def kill(self) -> None:
        """SIGKILL."""
        process = self._running()
        process.kill()
        process.wait()

    def terminate(self) -> None:
        """SIGTERM, and no waiting."""
        if self.alive:
            self._running().terminate()

    def send(self, number: int) -> None:
        """Any signal."""
        self._running().send_signal(number)

    async def ended(self, deadline: Deadline) -> int:
        """Its exit code once it has ended. Raises DeadlineExceededError."""
        process = self._running()
        await until(lambda: process.poll() is not None, deadline, f"{self.name} to end")
        return int(process.returncode)

    async def ready(self, deadline: Deadline) -> None:
        """Waits for /readyz. Raises RuntimeError when the process ended first, with the end of its log."""
        url = f"http://127.0.0.1:{self.port}/readyz"
        async with aiohttp.ClientSession() as session:
            while True:
                deadline.check(f"{self.name} to be ready")
                if not self.alive:
                    tail = self.log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} ended with {self._running().returncode}:\n{tail}")
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.03)


def module_argv(module: str, runner: str | None = None) -> list[str]:
    """The command line of a module; `runner` is a module that runs it, such as a profiler."""
    return [sys.executable, "-m", *([runner] if runner else []), module]


def worker_process(
    site: Site,
    module: str,
    service: str,
    folder: Path,
    *,
    environment: dict[str, str] | None = None,
    port: int | None = None,
    runner: str | None = None,
    niceness: int = 0,
) -> Process:
    """A worker of `python -m <module>` on this site; its log goes to `folder`. `niceness`: see testkit.niceness."""
    port = port or free_port()
    env = {**site.env(service, port), **(environment or {})}
    return Process(f"{service}:{port}", module_argv(module, runner), env, port, folder / f"{service}-{port}.log", niceness)


async def until(condition: Callable[[], bool], deadline: Deadline, what: str) -> None:
    """Waits until a cheap condition holds. Raises DeadlineExceededError naming `what`."""
    while not condition():
        deadline.check(what)
        await asyncio.sleep(0.01)
