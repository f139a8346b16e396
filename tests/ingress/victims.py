"""An edge in a process of its own that gets a signal at one of its steps; forked from a process that has everything loaded."""

import asyncio
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from ingress.batches import Ack, PublishUnknownError
from ingress.edge import Edge
from ingress.logs import log
from ingress.settings import EdgeSettings, load_settings
from ingress.steps import Step, install
from tests.ingress.rig import Answered, push

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["tests.ingress.victims", "spine.bus", "aiohttp", "botocore.session"])

PUSH = "push"
SWEEP = "sweep"


@dataclass
class Order:
    """What a victim does, and where it is hit."""

    environment: dict[str, str]
    step: Step
    nth: int = 1
    signal: int = signal.SIGKILL
    work: str = PUSH
    bodies: list[bytes] = field(default_factory=list)
    """Pushed one after the other."""
    unanswered: str = ""
    """"lost": records are not sent and nobody knows it. "sent": they are, and nobody knows it."""


@dataclass
class Victim:
    """A running victim."""

    process: Any
    pipe: Connection

    @property
    def pid(self) -> int:
        """Of the process."""
        pid: int = self.process.pid
        return pid

    async def ended(self, within_s: float = 120.0) -> int:
        """Its exit code: -9 where it was killed, 0 where its step never came."""
        await asyncio.to_thread(self.process.join, within_s)
        if self.process.exitcode is None:
            os.kill(self.pid, signal.SIGUSR1)  # it says where it stands
            await asyncio.sleep(1)
        assert self.process.exitcode is not None, "the victim neither died nor ended"
        code: int = self.process.exitcode
        return code

    async def stopped(self, within_s: float = 60.0) -> bool:
        """Whether it stands still at its step; False where it ended before."""
        deadline = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < deadline:
            if self.process.exitcode is not None:
                return False
            with open(f"/proc/{self.pid}/stat") as stat:  # noqa: PTH123  /proc is no place for a Path
                if stat.read().rpartition(")")[2].split()[0] == "T":
                    return True
            await asyncio.sleep(0.02)
        raise AssertionError("the victim neither stopped nor ended")

    def thaw(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def answers(self) -> list[Answered]:
        """What it had answered before it was hit."""
        found = []
        while self.pipe.poll():
            try:
                found.append(Answered(json.loads(self.pipe.recv_bytes())))
            except EOFError:
                break
        return found


def start(order: Order) -> Victim:
    """Starts a victim."""
    ours, theirs = _FORK.Pipe(duplex=False)
    # The server that forks it may have been started by another test, before this one's environment was there.
    process = _FORK.Process(target=_run, args=(order, theirs, dict(os.environ)), daemon=True)
    process.start()
    theirs.close()
    return Victim(process, ours)


def _run(order: Order, pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.update({**environment, **order.environment})
    log.muted = True
    seen: Counter[Step] = Counter()

    def hook(step: Step) -> None:
        seen[step] += 1
        if step is order.step and seen[step] == order.nth:
            os.kill(os.getpid(), order.signal)

    install(hook)
    faulthandler.register(signal.SIGUSR1, chain=True)
    signal.signal(signal.SIGUSR1, _tell_tasks)
    asyncio.run(_work(order, load_settings(), pipe))


async def _work(order: Order, settings: EdgeSettings, pipe: Connection) -> None:
    edge = Edge(settings)
    await edge.start(probe=False)
    if order.unanswered:
        _lose_answers(edge, send=order.unanswered == "sent")
    if order.work == SWEEP:
        await edge.reconciler.sweep()
    for body in order.bodies:
        answered = await push(edge, body)
        pipe.send_bytes(
            json.dumps({"statusCode": answered.status, "headers": answered.headers, "body": json.dumps(answered.body)}).encode()
        )
    await edge.stop()


def _tell_tasks(_: int, __: object) -> None:
    for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined]  # all_tasks() wants a loop, which a signal handler has not
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def _lose_answers(edge: Edge, *, send: bool) -> None:
    publish_all = edge.bus.publish_all

    async def unanswered(records: Any) -> list[Ack | PublishUnknownError]:
        if send:
            await publish_all(records)
        return [PublishUnknownError("the answer got lost") for _ in records]

    edge.bus.publish_all = unanswered  # type: ignore[method-assign]  # the fault of this process
