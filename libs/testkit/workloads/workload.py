"""What chaos and the law suite need to know of a service: its lawful inputs, what breaks each of them, and the outside that it calls."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

from laws.catalogue import EventType
from laws.topics import AUDIT, Topic
from testkit.harness import Site
from testkit.workloads.facts import Fact


class Workload(ABC):
    """The inputs of one service. Everything is a pure function of (seed, number): the same seed makes the same bytes.

    Inputs of one subject (a flow, a decision, a case) may come in any order: a law that needs an order must make it itself.
    """

    service: ClassVar[str]
    module: ClassVar[str]
    """Where `build(settings)` is."""
    paths: ClassVar[tuple[Path, ...]] = ()
    """What a process must add to its path to import the module."""
    topics: ClassVar[tuple[Topic, ...]]
    """What it reads and writes, beside the audit topic, to which every service tells its anomalies."""

    types: ClassVar[tuple[EventType, ...]] = ()
    """Event types of its own, which the catalogue does not know."""

    @abstractmethod
    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """The lawful facts of the subject `number`, records and commands."""

    @abstractmethod
    def other(self, fact: Fact) -> Fact:
        """The same identity with another lawful payload of the same key."""

    @abstractmethod
    def elsewhere(self, fact: Fact) -> Fact:
        """The same identity with another lawful payload whose key is another, so that two lanes may meet it at once."""

    def poison(self, seed: int, number: int) -> Sequence[Fact]:
        """Lawful envelopes that the service's own judgement or its store refuses, on keys of their own; none where it has no such."""
        return ()

    @contextlib.asynccontextmanager
    async def outside(self, site: Site, folder: Path, seed: int) -> AsyncIterator[None]:
        """What the service calls, faulty by `seed`, for as long as the block; its address goes to `site.environment`."""
        yield

    @property
    def all_topics(self) -> tuple[Topic, ...]:
        """Everything that must exist before a worker starts."""
        return tuple(dict.fromkeys((*self.topics, AUDIT)))
