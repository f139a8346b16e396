"""Start the keeper of an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.engines._deadline import Deadline
from testkit.engines._engine import Engine
from testkit.engines._errors import EngineError
from testkit.engines._process import Identity

KEEPER = Path(__file__).with_name("_keeper.py")


@dataclass
class Kept:
    """A keeper that this process started, and the leash that ends it."""

    process: subprocess.Popen[bytes]
    identity: Identity
    leash: int | None  # None: the keeper outlives this process


def spawn(engine: Engine, *, inherited: Sequence[int], leashed: bool, deadline: Deadline) -> Kept:
    """Start `engine` under a keeper and return when its process exists.

    `inherited` are the descriptors of locks: they are held until the last process of the engine is gone.
    """
    order = engine.home / "order.json"
    status = engine.home / "status"
    status.unlink(missing_ok=True)
    wanted = {
        "argv": engine.argv(),
        "env": engine.env(),
        "cwd": str(engine.home / "data"),
        "log": str(engine.home / "log"),
        "status": str(status),
        "leashed": leashed,
        "end_signal": engine.end_signal,
        "remove": [str((engine.home / "data").resolve()), str(engine.home)] if engine.temporary else [],
    }
    order.write_text(json.dumps(wanted))
    order.chmod(0o600)
    read, leash = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", str(KEEPER), str(order)],
        stdin=read if leashed else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(engine.home / "log").open("ab"),
        pass_fds=inherited,
        start_new_session=True,  # ^C is for the owner; the engines end in order after it
    )
    os.close(read)
    if not leashed:
        os.close(leash)
    identity = Identity.of(process.pid)
    if identity is None:
        raise EngineError(f"{engine.kind}: its keeper ended at once with status {process.wait()} ({engine.home / 'log'})")

    def reported() -> bool:
        if process.poll() is not None:
            raise EngineError(f"{engine.kind}: its keeper ended with status {process.returncode} ({engine.home / 'log'})")
        return status.exists()

    deadline.until(f"{engine.kind}: start of its keeper", reported)
    return Kept(process, identity, leash if leashed else None)
