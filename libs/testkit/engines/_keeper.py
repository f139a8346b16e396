"""Keep one engine: `python _keeper.py <order file>`. Standard library only: it runs without site-packages.

The keeper is the parent of the engine and the reaper of the engine's orphans, so that nothing of the engine survives it:
  standard input ends   the owner is gone, however it died: kill the engine, remove what the order says, end
  SIGTERM               the same, asked for
  SIGUSR1               start the engine again, if it is down
The status file always says which process runs: {"pid": 123 or null, "start": count of starts, "exit": last exit status or null}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# PostgreSQL's immediate shutdown takes some 10 ms; an engine that hangs must not hold up the end.
END_SECONDS = 2.0


class Order(TypedDict):
    """What a keeper is told by the process that starts it."""

    argv: list[str]  # the engine's program, absolute, and its arguments
    env: dict[str, str]  # added to the keeper's own
    cwd: str
    log: str  # takes the engine's output, appended
    status: str  # the status file
    leashed: bool  # whether the end of standard input ends the engine
    end_signal: int  # what ends the engine at once
    remove: list[str]  # folders to remove at the end; the last one's parent goes, too, when nothing but the lock is left in it


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def _children(of: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent_of(int(entry.name)) == of]


class Keeper:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pid: int | None = None
        self._starts = 0
        self._exit: int | None = None
        # Backends of PostgreSQL leave the process group; as their reaper the keeper still finds every one of them.
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self) -> None:
        if self._pid is not None:
            return
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_engine(keeper)
        self._pid, self._starts, self._exit = pid, self._starts + 1, None
        self._report()

    def _become_engine(self, keeper: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != keeper:  # the keeper died before the line above: no signal would ever come
                os._exit(1)
            log = os.open(self._order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self._order["cwd"])
            argv = self._order["argv"]
            os.execve(argv[0], argv, {**os.environ, **self._order["env"]})  # noqa: S606 - the owner's own program, no shell
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(127)

    def reap(self) -> None:
        """Collect what ended; when the engine itself did, take its orphans along before the status says that it is down."""
        ended = False
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if found[0] == self._pid:
                    ended, self._exit = True, os.waitstatus_to_exitcode(found[1])
        if ended:
            self._kill_all()
            self._pid = None
            self._report()

    def _kill_all(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                for child in _children(os.getpid()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    select.select([], [], [], 0.002)  # a killed process needs a moment to become collectable

    def _report(self) -> None:
        status = Path(self._order["status"])
        fresh = status.with_suffix(".new")
        fresh.write_text(json.dumps({"pid": self._pid, "start": self._starts, "exit": self._exit}))
        fresh.replace(status)  # a reader never sees half a status

    def end(self) -> None:
        """End the engine, within END_SECONDS in its own way, and remove what the order says."""
        if self._pid is not None and self._order["end_signal"] != signal.SIGKILL:
            os.kill(self._pid, self._order["end_signal"])
            os.kill(self._pid, signal.SIGCONT)  # a paused engine would not see it
            last = time.monotonic() + END_SECONDS
            while self._pid is not None and time.monotonic() < last:
                select.select([], [], [], 0.002)
                self.reap()
        self._kill_all()
        self._pid = None
        with contextlib.suppress(OSError):  # the owner may have removed the folder already
            self._report()
        if self._order["remove"]:
            self._remove([Path(folder) for folder in self._order["remove"]])

    @staticmethod
    def _remove(folders: list[Path]) -> None:
        import shutil  # noqa: PLC0415 - needed once, at the end; the start is what callers wait for

        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        home = folders[-1].parent
        with contextlib.suppress(OSError):  # another engine of the set is still there, and will do this
            if [entry.name for entry in home.iterdir()] == ["lock"]:
                (home / "lock").unlink()
                home.rmdir()


def main() -> None:
    order: Order = json.loads(Path(sys.argv[1]).read_text())
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keeper = Keeper(order)
    keeper.start()
    watched = [wake_read, 0] if order["leashed"] else [wake_read]
    while True:
        ready = select.select(watched, [], [])[0]
        signals = os.read(wake_read, 4096) if wake_read in ready else b""
        if 0 in ready or signal.SIGTERM in signals:
            keeper.end()
            return
        keeper.reap()
        if signal.SIGUSR1 in signals:
            keeper.start()


if __name__ == "__main__":
    main()
