"""A sixth service: counts the refunds of every flow, and answers how many there were. The whole service is this file and one migration."""

from pathlib import Path

import msgspec
from fastapi import APIRouter, Request

from laws.catalogue import TRAFFIC_EVENT
from laws.contracts.world import TrafficEvent, TrafficKind
from spine.service import Effects, Event, LaneGroup, On, Put, Read, Reads, Service, State
from spine.settings import Settings
from spine.surface import Problem, ServiceContext
from spine.tables import Mode, Table


class Refunds(msgspec.Struct, frozen=True):
    """What a flow has given back."""

    platform_run_id: str
    flow_id: str
    refunds: int
    amount_minor: int


REFUNDS = Table("refunds", Refunds, ("platform_run_id", "flow_id"), Mode.STATE)


def refund_reads(event: Event[TrafficEvent]) -> Reads:
    """The count of the flow, where the event is a refund."""
    if event.body.event_type is TrafficKind.REFUND:
        yield Read(REFUNDS, (event.identity.platform_run_id, event.body.flow_id))


def on_traffic(event: Event[TrafficEvent], state: State) -> Effects:
    """Add a refund to its flow; everything else has no effect."""
    if event.body.event_type is not TrafficKind.REFUND:
        return ()
    run, flow = event.identity.platform_run_id, event.body.flow_id
    before = state.get(REFUNDS, run, flow) or Refunds(run, flow, 0, 0)
    return (Put(REFUNDS, Refunds(run, flow, before.refunds + 1, before.amount_minor + event.body.amount_minor)),)


def routes(context: ServiceContext) -> APIRouter:
    """One question."""
    router = APIRouter()

    @router.get("/v1/refunds/{platform_run_id}/{flow_id}")
    async def refunds(request: Request, platform_run_id: str, flow_id: str) -> dict[str, int]:
        """Refunds of a flow."""
        context.principal(request, lambda principal: principal.startswith(("SYSTEM::", "HUMAN::")))
        sql = "SELECT refunds, amount_minor FROM refunds WHERE platform_run_id = $1 AND flow_id = $2"
        row = await context.pool.fetchrow(sql, platform_run_id, flow_id)
        if row is None:
            raise Problem(404, "NOT_FOUND", f"flow_id={flow_id} has no refund in {platform_run_id}")
        return dict(row)

    return router


def build(settings: Settings) -> Service:
    """The declaration."""
    return Service(
        name="refund_watch",
        runtime_lane="ofp",
        policy_rev="refund_watch.v1",
        policy_content={"counts": "REFUND"},
        groups=(LaneGroup("flow", doors=(On(TRAFFIC_EVENT, on_traffic, refund_reads),)),),
        migrations=Path(__file__).parent / "migrations",
        tables=(REFUNDS,),
        api=routes,
    )
