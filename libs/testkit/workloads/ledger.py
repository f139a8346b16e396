"""The spine's own test service: every door. It has no boundary of its own, so its command gets one here."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from ledger import service as ledger
from spine.service import Service
from spine.settings import Settings
from spine.surface import ServiceContext
from testkit.harness import Site
from testkit.provider.faults import FaultRates
from testkit.workloads.facts import INSTANT, PINS, Ask, Fact, id_of
from testkit.workloads.stand_in import StandIn
from testkit.workloads.workload import Workload

_NOTES = ("", "", "count all", "pay", "wait")
_ACCOUNTS = 40
_FAR = 10_000


def _routes(context: ServiceContext) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/adjustments/{event_id}")
    async def adjust(request: Request, event_id: str) -> Response:
        """Take a test_adjust. 201 when new, 200 when it came before."""
        principal = context.principal(request, lambda principal: principal.startswith("SYSTEM::"))
        answer = await context.command(request, ledger.ADJUST, event_id, await context.body(request), principal)
        return Response(answer.body, 201 if answer.is_new else 200, media_type="application/json")

    return router


def build(settings: Settings) -> Service:
    """The test service with a boundary for its command."""
    return dataclasses.replace(ledger.build(settings), api=_routes)


class LedgerWorkload(Workload):
    """Entries of forty accounts: plain, counted over all lanes, waiting for a key, paid by the outside; and adjustments by command."""

    service = "ledger"
    module = "testkit.workloads.ledger"
    paths = (Path(ledger.__file__).parents[1],)
    topics = ledger.TOPICS
    types = (ledger.ENTRY, ledger.KEY, ledger.POSTED_EVENT, ledger.ADJUST)

    def facts(self, seed: int, number: int) -> Sequence[Fact]:
        """An entry; for one that waits, mostly the key that it waits for; now and then an adjustment."""
        # Far subjects are the poisoned ones and those of tests: their accounts are their own.
        account, note = f"a{number % _ACCOUNTS if number < _FAR else number}", _NOTES[number % len(_NOTES)]
        if note == "wait":
            account = f"w{number}"  # an account of its own: the service lets one entry of an account wait
        payload: dict[str, Any] = {"account": account, "amount": 1 + number % 7, **({"note": note} if note else {})}
        facts = [Fact(ledger.ENTRY, id_of(seed, number, "entry"), payload)]
        if note == "wait" and number % 3:
            facts.append(Fact(ledger.KEY, id_of(seed, number, "key"), {"account": account}))
        if number % 4 == 1:
            facts.append(_adjustment(id_of(seed, number, "adjust"), account, 100))
        return facts

    def other(self, fact: Fact) -> Fact:
        """Another amount; a key says nothing but its account."""
        if fact.event_type is ledger.KEY:
            return self.elsewhere(fact)
        return dataclasses.replace(fact, payload={**fact.payload, "amount": fact.payload["amount"] + 1})

    def elsewhere(self, fact: Fact) -> Fact:
        """Another account."""
        return dataclasses.replace(fact, payload={**fact.payload, "account": fact.payload["account"] + "x"})

    def poison(self, seed: int, number: int) -> Sequence[Fact]:
        """An entry that the handler refuses, and one behind it."""
        return [
            Fact(ledger.ENTRY, id_of(seed, number, "poison"), {"account": f"p{number}", "amount": 1, "note": "poison"}),
            Fact(ledger.ENTRY, id_of(seed, number, "behind"), {"account": f"p{number}", "amount": 1}),
        ]

    @contextlib.asynccontextmanager
    async def outside(self, site: Site, folder: Path, seed: int) -> AsyncIterator[None]:
        """The payee."""
        faults = FaultRates(seed, unavailable=0.05, lost_before=0.03, lost_after=0.03)
        payee = StandIn(faults, lambda request, _: request.match_info["key"], lambda _: b"{}")
        async with payee.serving("/{key}", "/{key}") as url:
            site.environment["FP_PROVIDER_URL"] = url
            yield


def _adjustment(event_id: str, account: str, amount: int) -> Ask:
    payload = {"account": account, "amount": amount, "pins": PINS, "observed_time": INSTANT}
    return Ask(ledger.ADJUST, event_id, payload, path=f"/v1/adjustments/{event_id}", principal="SYSTEM::ops")
