"""Worker processes of the test service that start in milliseconds: forked from a server that has everything imported already.

They are processes like any other: they open their own connections, and SIGKILL takes them at once. Beside what the service has
they offer its command over HTTP, and can lose the answer to a COMMIT.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import asyncpg
from fastapi import APIRouter, Request

from ledger import service as ledger
from rig import Rig
from spine.deadline import Deadline
from spine.process import main
from spine.service import Service
from spine.settings import Settings
from spine.surface import ServiceContext
from testkit.harness import free_port, until

_PR_SET_PDEATHSIG = 1

_SERVER = multiprocessing.get_context("forkserver")
# pytest: the children look at the main module of this process, which is pytest's. The last two are imported by a worker's first use of
# its HTTP server, which would cost each of them a quarter of a second.
_SERVER.set_forkserver_preload(["forked", "pytest", "pydantic.v1", "uvicorn.protocols.http.h11_impl"])


def _start_server() -> None:
    """Does nothing when it runs."""
    before = os.environ.get("PYTHONPATH")
    # The server of Python 3.11 does not take over sys.path, and a module that it can't import ahead it silently leaves to its children.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class ForkedWorker:
    """One worker process of the test service on the site of a rig."""

    def __init__(self, rig: Rig, *, lose_commit: int = 0, **environment: str) -> None:
        self.port = free_port()
        self.log = rig.folder / f"ledger-{self.port}.log"
        values = rig.site.env("ledger", self.port) | environment
        self._process = _SERVER.Process(target=_serve, args=(values, self.log, lose_commit), daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def start(self) -> None:
        """Start; it can't be started again."""
        _start_server()
        self._process.start()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()

    def send(self, number: int) -> None:
        """Any signal; nothing when it has ended."""
        if self.alive and self._process.pid is not None:
            os.kill(self._process.pid, number)

    async def ended(self, deadline: Deadline) -> int:
        """Its exit code once it has ended, negative for a signal. Raises DeadlineExceededError."""
        await until(lambda: not self.alive, deadline, f"worker on port {self.port} to end")
        code = self._process.exitcode
        assert code is not None
        return code

    async def stopped(self, deadline: Deadline) -> int:
        """SIGTERM, and its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended(deadline)


def _serve(environment: dict[str, str], log: Path, lose_commit: int) -> None:
    # The fork server ends with the test run, and with it every worker: none may hold leases of a database that is gone.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with log.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ.update(environment)
    if lose_commit:
        _lose_answer_of_commit(lose_commit)
    main(build)


def build(settings: Settings) -> Service:
    """The test service with its command over HTTP."""
    return replace(ledger.build(settings), api=_routes)


def _routes(context: ServiceContext) -> APIRouter:
    router = APIRouter()

    @router.post("/adjust/{event_id}")
    async def adjust(event_id: str, request: Request) -> dict[str, Any]:
        answer = await context.command(request, ledger.ADJUST, event_id, await context.body(request), "SYSTEM::test")
        return {"verdict": answer.verdict.value, "status": answer.status, "body": answer.body.decode()}

    return router


def _lose_answer_of_commit(nth: int) -> None:
    original = asyncpg.transaction.Transaction.commit
    commits = 0

    async def commit(transaction: asyncpg.transaction.Transaction) -> None:
        nonlocal commits
        commits += 1
        # Kept before the wait: the commits of other lanes are counted meanwhile.
        mine = commits
        await original(transaction)
        if mine == nth:
            transaction._connection.terminate()  # type: ignore[attr-defined]  # asyncpg keeps it to itself
            raise asyncpg.ConnectionDoesNotExistError("the answer to COMMIT was lost")

    asyncpg.transaction.Transaction.commit = commit  # type: ignore[method-assign, assignment]  # patched in a process of its own
