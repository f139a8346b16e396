"""A lane as the real store and the real bus hold it, in the words of the model: the same invariants judge both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from laws.envelope import decode_envelope
from laws.identity import unpack_event_id
from ledger.service import ENTRIES, POSTED
from rig import Rig
from testkit.model.state import Cert, Lane


class Claimed(NamedTuple):
    """A claim that the script has seen: certificates after `seq` are under this epoch, or somebody trespassed."""

    epoch: int
    seq: int


async def observe(rig: Rig, lane: int, log: tuple[str, ...], claims: Sequence[Claimed], trespass: str) -> Lane:
    """What stands in the tables and on the topic now. `log` names the records by their offsets."""
    (row,) = await rig.rows("SELECT lane_seq, published_seq, epoch FROM lane WHERE lane = $1", lane)
    position = await rig.value("SELECT next_offset FROM lane_position WHERE lane = $1 AND topic = $2", lane, ENTRIES.name)
    inbox = await rig.rows("SELECT event_id FROM inbox WHERE lane = $1 ORDER BY lane_seq", lane)
    state = await rig.rows('SELECT event_id FROM entry WHERE lane = $1 ORDER BY lane_seq, "offset"', lane)
    outbox = await rig.rows("SELECT lane_seq, value FROM outbox WHERE lane = $1 ORDER BY lane_seq, i", lane)
    chain = await _chain(rig, lane)
    late = [seq for seq, cert in enumerate(chain, 1) if any(cert[0] < claim.epoch for claim in claims if seq > claim.seq)]
    return Lane(
        log,
        epoch=row["epoch"],
        seq=row["lane_seq"],
        published=row["published_seq"],
        position=position or 0,
        inbox=tuple((name, name) for name in (unpack_event_id(bytes(found["event_id"])) for found in inbox)),
        state=tuple(found["event_id"] for found in state),
        outbox=tuple((found["lane_seq"], *_output(bytes(found["value"]))) for found in outbox),
        chain=chain,
        topic=tuple(sorted({_output(bytes(found.value)) for found in await rig.read(POSTED)})),
        trespass=trespass or ("COMMITTED" if late else ""),
    )


async def _chain(rig: Rig, lane: int) -> tuple[Cert, ...]:
    rows = await rig.rows("SELECT epoch, ranges, verdicts FROM certificate WHERE lane = $1 ORDER BY lane_seq", lane)
    chain: list[Cert] = []
    for row in rows:
        ((_, _, _, start, stop),) = json.loads(row["ranges"])
        chain.append((row["epoch"], 0, "R", int(start), int(stop), row["verdicts"]))
    return tuple(chain)


def _output(value: bytes) -> tuple[str, int]:
    posted: dict[str, Any] = json.loads(bytes(decode_envelope(value).payload))
    # Every entry adds one: the balance says how many effects stood before this one.
    return posted["entry"], posted["balance"] - 1
