"""What differs between the engines: how each is prepared, run, and asked whether it answers."""

from __future__ import annotations

import enum
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from testkit.engines._deadline import Deadline
from testkit.engines._errors import EngineError

HOST = "127.0.0.1"


class Kind(enum.StrEnum):
    KAFKA = "kafka"
    POSTGRES = "postgres"
    DYNAMODB = "dynamodb"


class Engine(ABC):
    """One engine on one folder and one set of ports."""

    kind: ClassVar[Kind]
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM  # ends it in order
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL  # ends it at once, when its data is no longer wanted

    def __init__(self, home: Path, ports: Sequence[int], *, temporary: bool, enduring: bool = False) -> None:
        self.home = home
        self.temporary = temporary  # the data is removed with the set
        self.enduring = enduring  # it works for minutes, so that what makes a start slower may pay
        self.ports = ports

    @property
    def port(self) -> int:
        """The one that clients use."""
        return self.ports[0]

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Where clients connect, in the form that they want."""

    def fetch(self) -> None:  # noqa: B027 - an engine out of a wheel is there already
        """Get what is not on this machine yet; the only step that may need a network, and minutes."""

    @abstractmethod
    def prepare(self, deadline: Deadline) -> None:
        """Make the data folder if it is new, and write the configuration."""

    @abstractmethod
    def argv(self) -> list[str]:
        """The program and its arguments."""

    def env(self) -> dict[str, str]:
        return {}

    def after_start(self, deadline: Deadline) -> None:  # noqa: B027 - most engines have nothing to do here
        """What can only be done once it answers."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the engine serves a real request now; false while it is still starting."""


def run(what: str, argv: Sequence[str], deadline: Deadline, *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a step of the preparation to its end; raises EngineError with the last line that it printed."""
    try:
        done = subprocess.run(  # noqa: S603 - the engine's own tool, no shell
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline.left(), check=False
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{what}: not done within {deadline.seconds:g} s") from None
    if done.returncode != 0:
        printed = (done.stderr.strip() or done.stdout.strip() or "nothing printed").splitlines()
        raise EngineError(f"{what}: exit status {done.returncode}: {printed[-1]}")
