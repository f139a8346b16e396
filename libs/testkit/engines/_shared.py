"""One set that outlives the process which started it, for reuse by later ones: `fp up`, `fp down`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from testkit.engines._cache import folder
from testkit.engines._deadline import Deadline
from testkit.engines._engine import Kind
from testkit.engines._errors import EngineError
from testkit.engines._handle import START_SECONDS, Handle
from testkit.engines._locks import lock
from testkit.engines._process import Identity
from testkit.engines._scratch import discard
from testkit.engines._set import ALL, ENGINES, EngineSet, end_keepers, launch, start


def up() -> EngineSet:
    """The shared set, started if it is not up; all engines answer. It stays until down(), and EngineSet.stop() also ends it."""
    with _state_lock():
        found = _attached()
        if found is not None:
            for handle in found.handles:
                handle.await_ready(Deadline(START_SECONDS))
            return found
        discard(_home())  # left by a set that a power cut ended
        engines = launch(ALL, data_dir=_home(), leashed=False, remove=True)
        engines.detach()
        _write_state(engines)
        return engines


@contextlib.contextmanager
def borrowed(kinds: Collection[Kind] = ALL) -> Iterator[EngineSet]:
    """For a session of tests: the shared set if it is up, which stays up, else a new one of these kinds for the length of the block.

    The shared set keeps what earlier sessions left in it: names of topics, schemas and tables must be new in every session.
    """
    shared = attached()
    if shared is not None:
        yield shared
        return
    with start(kinds) as own:
        yield own


def down() -> bool:
    """End the shared set and remove its data; whether there was one."""
    with _state_lock():
        handles = [handle for handle in _handles().values() if handle.keeper.alive]
        end_keepers(handles)
        _state_file().unlink(missing_ok=True)
        discard(_home())
        return bool(handles)


def attached() -> EngineSet | None:
    """The shared set if all its engines are kept now, else None; an engine that was killed counts, and can be restarted."""
    with _state_lock():
        return _attached()


def _attached() -> EngineSet | None:
    handles = _handles()
    if not handles or not all(handle.keeper.alive for handle in handles.values()):
        end_keepers(handles.values())  # half a set is no set: its rest would keep the folder from the next one
        return None
    return EngineSet(_home(), handles, remove=True)


def _home() -> Path:
    return folder("engines") / "shared"


def _state_file() -> Path:
    return folder("engines") / "shared.json"


@contextlib.contextmanager
def _state_lock() -> Iterator[None]:
    descriptor = lock(folder("engines") / "shared.lock")  # two ups at once: one starts the set, the other finds it
    try:
        yield
    finally:
        os.close(descriptor)


def _write_state(engines: EngineSet) -> None:
    state = {
        handle.kind: {"ports": handle.ports, "keeper": handle.keeper.pid, "started": handle.keeper.started} for handle in engines.handles
    }
    fresh = _state_file().with_suffix(".new")
    fresh.write_text(json.dumps(state))
    fresh.replace(_state_file())


def _handles() -> dict[Kind, Handle]:
    if not _state_file().exists():
        return {}
    try:
        state = json.loads(_state_file().read_text())
        return {
            kind: Handle(ENGINES[kind](_home() / kind, entry["ports"], temporary=True), Identity(entry["keeper"], entry["started"]))
            for kind, entry in ((Kind(name), entry) for name, entry in state.items())
        }
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{_state_file()} cannot be read ({error!r}): end its processes by hand and remove it") from None
