"""A clean process that has imported the spine and the services, and forks a worker on demand: `python -m testkit.chaos.fork_server <fd>`.

Importing costs a worker about a second of CPU; a fork costs a few milliseconds, and the child then runs `spine.process.main` as
`python -m <service>` does. The server has one thread and opens no connection, so a fork copies nothing that two processes may not share.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from spine.process import main as run_worker
from testkit.chaos.clock import install_clock

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

# Which wrong variant of the law a worker runs with; for negative controls.
WRONG = "TESTKIT_WRONG"


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """Start worker `number`, or send it a signal."""

    number: int
    module: str = ""
    """Where `build` is; empty for a signal."""
    paths: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    log: str = ""
    signal: int = 0


class Told(msgspec.Struct, frozen=True):
    """What became of worker `number`: `started` (value is the pid), `stopped`, `ended` (value is the exit code, negative for a signal)."""

    number: int
    what: str
    value: int


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._numbers: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        self._received = b""
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until the other end closes the channel; the workers end with this process."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self._channel, selectors.EVENT_READ)
        selector.register(self._woken, selectors.EVENT_READ)
        gc.freeze()  # a collection in a child would write to, and so copy, every page that it shares with this process
        while True:
            for key, _ in selector.select():
                if key.fileobj is not self._channel:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                elif not self._take():
                    return
            self._reap()

    def _take(self) -> bool:
        data = self._channel.recv(1 << 16)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._obey(msgspec.json.decode(line, type=Order))
        return bool(data)

    def _obey(self, order: Order) -> None:
        if order.module:
            self._start(order)
        elif order.number in self._pids:  # not reaped yet, so the pid is still this worker's
            os.kill(self._pids[order.number], order.signal)

    def _start(self, order: Order) -> None:
        for path in order.paths:
            if path not in sys.path:
                sys.path.insert(0, path)
        build: Callable[[Any], Any] = importlib.import_module(order.module).build
        if threading.active_count() != 1:
            raise RuntimeError(f"importing {order.module} started a thread: a forked worker would inherit its locks without it")
        pid = os.fork()
        if pid == 0:
            os._exit(self._child(order, build))
        self._pids[order.number], self._numbers[pid] = pid, order.number
        self._tell(order.number, "started", pid)

    def _child(self, order: Order, build: Callable[[Any], Any]) -> int:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, _tell_tasks)
        faulthandler.register(signal.SIGUSR1, chain=True)  # also where no Python runs that could see the signal
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self._channel.close()
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order.environment)
        try:
            install_clock(os.environ)
            if os.environ.get(WRONG):
                _plant(os.environ[WRONG])
            run_worker(build)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _reap(self) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            number = self._numbers[pid]
            if os.WIFSTOPPED(status):
                self._tell(number, "stopped", os.WSTOPSIG(status))
                continue
            del self._numbers[pid], self._pids[number]
            self._tell(number, "ended", os.waitstatus_to_exitcode(status))

    def _tell(self, number: int, what: str, value: int) -> None:
        self._channel.sendall(msgspec.json.encode(Told(number, what, value)) + b"\n")


def _tell_tasks(_: int, __: object) -> None:
    """Where every task stands: what to ask a worker that does not end."""
    for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined]  # all_tasks() wants a loop, which a signal handler has not
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def _plant(name: str) -> None:
    # Imported here: it patches the spine, and only a negative control may run with that.
    from testkit.wrong import Wrong  # noqa: PLC0415  only where it is used
    from testkit.wrong.plants import plant  # noqa: PLC0415  only where it is used

    plant(Wrong[name])


def main() -> None:
    """Serve the orders that come on the descriptor named by the first argument."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _Server(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
