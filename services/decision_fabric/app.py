"""Decision fabric: one decision and one intent for every trigger (domain.md 5)."""

from pathlib import Path

from decision_fabric import api, store
from decision_fabric.pack import load_pack
from decision_fabric.policy import CONTEXT_WAIT, POLICY_REV, Fabric
from laws.catalogue import FLOW_ANCHOR, TRAFFIC_EVENT
from spine.service import LaneGroup, On, Service, Timer
from spine.settings import Settings

_HERE = Path(__file__).parent


PACK = _HERE / "packs" / "guardrails_v1.yaml"


def build(settings: Settings, pack_file: Path = PACK) -> Service:
    """The service with its pinned guardrail pack; a replay may try another. Raises what `load_pack` raises for one that is not lawful."""
    pack, content = load_pack(pack_file)
    fabric = Fabric(pack)
    return Service(
        name="decision_fabric",
        runtime_lane="df",
        policy_rev=POLICY_REV,
        policy_content=content,
        groups=(
            LaneGroup(
                "flow",
                doors=(
                    On(FLOW_ANCHOR, fabric.on_anchor, fabric.anchor_reads),
                    On(TRAFFIC_EVENT, fabric.on_traffic, fabric.traffic_reads, fabric.traffic_reads_then),
                ),
                timers=(Timer(CONTEXT_WAIT, fabric.on_wait_over, fabric.wait_over_reads),),
            ),
        ),
        migrations=_HERE / "migrations",
        tables=store.TABLES,
        api=api.routes,
    )
