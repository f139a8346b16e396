"""Intents before a provider that loses answers, is busy and refuses; some that the policy denies, some that wish the same again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from laws.topics import RTDL
from testkit.harness import Site
from testkit.provider.__main__ import MAX_BODY_BYTES
from testkit.provider.book import Book
from testkit.provider.faults import FaultRates
from testkit.provider.service import Provider
from testkit.workloads import rtdl
from testkit.workloads.facts import Fact, id_of
from testkit.workloads.stand_in import served
from testkit.workloads.workload import Workload

# Far above the provider's own rates: of a hundred calls, twenty do not end with their first answer.
_FAULTS = FaultRates(unavailable=0.08, lost_before=0.05, lost_after=0.05, delayed=0.05, delay_ms=300, refused=0.03)


class ActionLayerWorkload(Workload):
    """A decision and its intent a subject."""

    service = "action_layer"
    module = "action_layer.app"
    topics = (RTDL,)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """One of eight intents is denied; one of nine is wished again under another id, one of twelve with another content too."""
        facts = [rtdl.decision(seed, number), rtdl.intent(seed, number, "FREEZE_CARD" if number % 8 == 5 else None)]
        if number % 9 == 4:
            facts.append(dataclasses.replace(facts[1], event_id=id_of(seed, number, "again")))
        if number % 12 == 7:
            facts.append(dataclasses.replace(rtdl.other(facts[1]), event_id=id_of(seed, number, "changed wish")))
        return facts

    def other(self, fact: Fact) -> Fact:
        """Another configuration."""
        return rtdl.other(fact)

    def elsewhere(self, fact: Fact) -> Fact:
        """Another decision, and its own wish: the key of a wish belongs to one decision."""
        found = rtdl.elsewhere(fact)
        if "idempotency_key" not in found.payload:
            return found
        return rtdl.changed(found, idempotency_key=id_of(fact.event_id, "elsewhere key"))

    @contextlib.asynccontextmanager
    async def outside(self, site: Site, folder: Path, seed: int) -> AsyncIterator[None]:
        """The provider."""
        book = Book(folder / "provider.journal")
        async with served(Provider(book, dataclasses.replace(_FAULTS, seed=seed), MAX_BODY_BYTES).app()) as url:
            site.environment["FP_PROVIDER_URL"] = url
            try:
                yield
            finally:
                await book.close()
