"""A set of engines on one data folder."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.engines._cache import folder
from testkit.engines._deadline import Deadline
from testkit.engines._dynamodb import DynamoDB
from testkit.engines._engine import Engine, Kind
from testkit.engines._errors import EngineError
from testkit.engines._handle import START_SECONDS, Handle
from testkit.engines._kafka import Kafka
from testkit.engines._locks import lock, try_lock
from testkit.engines._ports import reserve
from testkit.engines._postgres import Postgres
from testkit.engines._scratch import discard
from testkit.engines._spawn import Kept, spawn

ALL: frozenset[Kind] = frozenset(Kind)
ENGINES: Mapping[Kind, type[Engine]] = {Kind.KAFKA: Kafka, Kind.POSTGRES: Postgres, Kind.DYNAMODB: DynamoDB}

# A set that was kept for hours holds gigabytes in many small files, and its keeper removes them before it ends.
END_SECONDS = 180.0


@dataclass(frozen=True)
class Endpoints:
    """Where the engines of a set answer; the empty string for an engine that was not asked for."""

    kafka_bootstrap: str = ""
    postgres_dsn: str = ""  # superuser, database 'postgres'
    dynamodb_endpoint: str = ""


class EngineSet:
    """Engines that were started together. As a context manager it stops them at the end."""

    def __init__(self, home: Path, handles: Mapping[Kind, Handle], *, remove: bool) -> None:
        self.home = home
        self._handles = handles
        self._remove = remove
        self._kept: list[Kept] = []
        self._descriptors: list[int] = []

    @property
    def endpoints(self) -> Endpoints:
        found = {kind: handle.endpoint for kind, handle in self._handles.items()}
        return Endpoints(found.get(Kind.KAFKA, ""), found.get(Kind.POSTGRES, ""), found.get(Kind.DYNAMODB, ""))

    @property
    def handles(self) -> Collection[Handle]:
        return self._handles.values()

    @property
    def kafka(self) -> Handle:
        return self._handle(Kind.KAFKA)

    @property
    def postgres(self) -> Handle:
        return self._handle(Kind.POSTGRES)

    @property
    def dynamodb(self) -> Handle:
        return self._handle(Kind.DYNAMODB)

    def _handle(self, kind: Kind) -> Handle:
        if kind not in self._handles:
            raise EngineError(f"this set has no {kind}, only {', '.join(self._handles)}: name it in start(kinds=...)")
        return self._handles[kind]

    def own(self, kept: list[Kept], descriptors: list[int]) -> None:
        """Take over what ends with this set: the keepers with their leashes, and the locks of the folder and the ports."""
        self._kept, self._descriptors = kept, descriptors
        os.register_at_fork(after_in_child=self._let_go)

    def detach(self) -> None:
        """Leave the engines running when this process ends; their own processes hold the locks from now on."""
        self._let_go()

    def _let_go(self) -> None:
        """Close what this process holds; in a forked child, too, or the engines would outlive the owner that was forked."""
        for descriptor in [*self._descriptors, *(kept.leash for kept in self._kept if kept.leash is not None)]:
            os.close(descriptor)
        self._kept, self._descriptors = [], []

    def stop(self) -> None:
        """End all engines; data that is kept is left in order, other data is removed. A second call does nothing."""
        if not self._remove:
            with ThreadPoolExecutor(len(ALL), "engine-stop") as workers:
                list(workers.map(Handle.stop, [handle for handle in self._handles.values() if handle.keeper.alive]))
        end_keepers(self._handles.values())
        for kept in self._kept:
            kept.process.wait()
        self._let_go()
        if self._remove:
            discard(self.home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def end_keepers(handles: Collection[Handle]) -> None:
    """Ask the keepers to end, and return when they have: no process of their engines is left then."""
    keepers = [handle.keeper for handle in handles if handle.keeper.alive]
    for keeper in keepers:
        with contextlib.suppress(ProcessLookupError):  # it ended in this moment
            os.kill(keeper.pid, signal.SIGTERM)
    Deadline(END_SECONDS).until("end of the engines and of their data", lambda: not any(keeper.alive for keeper in keepers))


def start(kinds: Collection[Kind] = ALL, *, data_dir: Path | None = None, enduring: Collection[Kind] = ()) -> EngineSet:
    """Start engines on free ports of 127.0.0.1 and return when all of them answer; they end with this process, however it ends.

    Without `data_dir` the data is new, and removed at the end. With it, the data is made or found there, and kept. Engines that are
    `enduring` are set up for minutes of work rather than for a fast start. Raises EngineError when another set uses the folder, or an
    engine does not come up within START_SECONDS.
    """
    return launch(kinds, data_dir=data_dir, leashed=True, remove=data_dir is None, enduring=enduring)


def launch(kinds: Collection[Kind], *, data_dir: Path | None, leashed: bool, remove: bool, enduring: Collection[Kind] = ()) -> EngineSet:
    """start() with a choice of lifetime: not `leashed`, the engines outlive this process."""
    home, descriptor = _new_home() if data_dir is None else _claim(data_dir)
    descriptors = [descriptor]
    engines: list[Engine] = []
    for kind in sorted(kinds):
        engine_home = home / kind
        engine_home.mkdir(exist_ok=True)
        reserved = [reserve() for _ in range(ENGINES[kind].port_count)]
        descriptors += [held for _, held in reserved]
        ports = [port for port, _ in reserved]
        engines.append(ENGINES[kind](engine_home, ports, temporary=remove, enduring=kind in enduring))
    kept: list[Kept] = []
    handles: dict[Kind, Handle] = {}
    engine_set = EngineSet(home, handles, remove=remove)
    engine_set.own(kept, descriptors)

    def bring_up(engine: Engine) -> None:
        engine.fetch()  # before the budget of the start begins
        deadline = Deadline(START_SECONDS)
        engine.prepare(deadline)
        keeper = spawn(engine, inherited=descriptors, leashed=leashed, deadline=deadline)
        kept.append(keeper)
        handles[engine.kind] = Handle(engine, keeper.identity)
        handles[engine.kind].await_ready(deadline)
        engine.after_start(deadline)

    try:
        with ThreadPoolExecutor(len(ALL), "engine-start") as workers:
            list(workers.map(bring_up, engines))
    except BaseException:
        engine_set.stop()
        raise
    return engine_set


def _claim(home: Path) -> tuple[Path, int]:
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    descriptor = try_lock(home / "lock")
    if descriptor is None:
        raise EngineError(
            f"{home} is in use by another set of engines: stop that set or take another folder (two brokers on one destroy it)"
        )
    return home, descriptor


def _new_home() -> tuple[Path, int]:
    sets = folder("engines", "sets")
    holder = lock(sets.parent / "sets.lock")  # between the making of a folder and its locking nobody may sweep it
    try:
        for old in sets.iterdir():
            _sweep(old)
        return _claim(Path(tempfile.mkdtemp(dir=sets)))
    finally:
        os.close(holder)


def _sweep(home: Path) -> None:
    """Remove the folder of a set of which no process is left, such as after a power cut."""
    descriptor = try_lock(home / "lock")
    if descriptor is not None:
        discard(home)
        os.close(descriptor)
