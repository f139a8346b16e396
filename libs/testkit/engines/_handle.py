"""One running engine, as its user sees it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from testkit.engines._deadline import Deadline
from testkit.engines._engine import Engine, Kind
from testkit.engines._errors import EngineError
from testkit.engines._process import Identity, family

# Ten times the slowest start that was measured on two busy cores (a broker after a kill: 5.5 s).
START_SECONDS = 60.0
# A broker that hands over and a database that writes its last checkpoint take under 2 s; later it is stuck.
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class _Status:
    pid: int | None
    start: int
    exit: int | None


class Handle:
    """Commands to one engine. Every command returns when its effect is there; none may be used by two threads at once."""

    def __init__(self, engine: Engine, keeper: Identity) -> None:
        self._engine = engine
        self.keeper = keeper

    @property
    def kind(self) -> Kind:
        return self._engine.kind

    @property
    def ports(self) -> list[int]:
        """The one that clients use, then those that the engine uses for itself."""
        return list(self._engine.ports)

    @property
    def endpoint(self) -> str:
        return self._engine.endpoint

    @property
    def pid(self) -> int | None:
        """The engine's process; None while it is down."""
        return self._status().pid

    def kill(self) -> None:
        """SIGKILL the engine and return when it and all its children are gone; its data stays as the kill left it."""
        self._signal(signal.SIGKILL)
        self._until_down(Deadline(STOP_SECONDS))

    def stop(self) -> None:
        """Let the engine end in order and return when it is gone; nothing happens if it is down. Kills it after STOP_SECONDS."""
        if self.pid is None:
            return
        self.resume()  # a stopped process would never see the signal
        self._signal(self._engine.stop_signal)
        try:
            self._until_down(Deadline(STOP_SECONDS))
        except EngineError:
            self.kill()

    def restart(self) -> None:
        """Stop the engine if it is up, start it on the same port and data, and return when it answers."""
        self.stop()
        count = self._status().start
        os.kill(self.keeper.pid, signal.SIGUSR1)
        deadline = Deadline(START_SECONDS)
        deadline.until(f"{self.kind}: keeper {self.keeper.pid} starts it again", lambda: self._status().start > count)
        self.await_ready(deadline)

    def pause(self) -> None:
        """SIGSTOP the engine and its children: connections stay open and nothing answers."""
        for pid in self._family():
            self._send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo pause()."""
        for pid in reversed(self._family()):
            self._send(pid, signal.SIGCONT)

    def await_ready(self, deadline: Deadline) -> None:
        """Return when the engine serves a real request; raises EngineError with its last words if it ends before."""
        # In a thread of its own, since the probes run an event loop and the caller may be inside one.
        with ThreadPoolExecutor(1, f"{self.kind}-ready") as worker:
            worker.submit(deadline.until, f"{self.kind} on port {self._engine.port}: answer a request", self._up_and_answering).result()

    def _up_and_answering(self) -> bool:
        status = self._status()
        if status.pid is None:
            raise EngineError(f"{self.kind} on port {self._engine.port} ended with status {status.exit}: {self._last_words()}")
        return self._engine.answers()

    def _last_words(self) -> str:
        log = self._engine.home / "log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"{lines[-1] if lines else 'it printed nothing'} ({log})"

    def _status(self) -> _Status:
        if not self.keeper.alive:
            raise EngineError(f"{self.kind}: its keeper (process {self.keeper.pid}) is gone, and the engine with it: start a new set")
        return _Status(**json.loads((self._engine.home / "status").read_text()))

    def _family(self) -> list[int]:
        pid = self.pid
        return [] if pid is None else family(pid)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            self._send(pid, number)

    @staticmethod
    def _send(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself in this moment, which is what a kill wants
            os.kill(pid, number)

    def _until_down(self, deadline: Deadline) -> None:
        deadline.until(f"{self.kind}: end", lambda: self.pid is None)
