"""The one thing that may happen at the steps of a process: a test kills, freezes or fails there. Imported by what must start fast."""

from collections.abc import Callable
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


class StepHook(Generic[S]):
    """What happens at each step that code reports. A process has one for its kind of steps: a fault is a property of the process."""

    def __init__(self) -> None:
        self._hook: Callable[[S], None] | None = None

    def install(self, hook: Callable[[S], None] | None) -> None:
        """Set what happens at a step; None for nothing."""
        self._hook = hook

    def reached(self, step: S) -> None:
        """Report a step."""
        if self._hook is not None:
            self._hook(step)
