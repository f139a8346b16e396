"""Transitions of a lane's publisher: read, append by the broker, acknowledged, mark (runtime.md, The transaction)."""

from spine.steps import Step
from testkit.model import law
from testkit.model.moves import APPEND, Move
from testkit.model.ownership import dropped
from testkit.model.rules import Rules, Successors
from testkit.model.state import NO_MEM, NOBODY, Inlet, Lane, Mem, Role, State, Tx, unpublished, with_both, with_lane, with_mem
from testkit.wrong import Wrong

_LOOKS_UNTOLD = (Role.EMPTYING, Role.DRAINING)


def publisher(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    """What the publisher of one lane may do next, and the broker with what it was sent."""
    if mem.role < Role.EMPTYING:
        return
    if mem.read:
        missing = [row for row in lane.outbox if row[0] <= mem.read and row[1:] not in lane.topic]
        if missing:
            # The broker may do this long before the client knows, or never: a crash can come on either side.
            yield Move(worker, APPEND, number), with_lane(state, number, appended(lane, missing[0]))
        else:
            ack = max(mem.ack, mem.read)
            after = mem._replace(ack=ack, read=0, awake=bool(unpublished(lane, ack)))
            yield Move(worker, Step.PUBLISHED, number), with_mem(state, worker, number, after)
    elif mem.awake or mem.role in _LOOKS_UNTOLD:
        rows = unpublished(lane, mem.ack)
        if rows:
            past = rows if rules.wrong is Wrong.MARK_PAST_UNACKNOWLEDGED else mem.ack
            yield Move(worker, Step.OUTBOX_READ, number), with_mem(state, worker, number, mem._replace(read=rows, ack=past))
        elif mem.awake:
            yield Move(worker, Step.OUTBOX_READ, number), with_mem(state, worker, number, mem._replace(awake=False))
    if rules.wrong is Wrong.PUBLISH_BEFORE_COMMIT and mem.tx is Tx.OPEN and mem.job is not None and mem.job.inlet is Inlet.RECORDS:
        early = [row for row in law.close(lane, mem.job).outbox[len(lane.outbox) :] if row[1:] not in lane.topic]
        if early:
            yield Move(worker, APPEND, number), with_lane(state, number, appended(lane, early[0]))
    if mem.ack > lane.published and lane.lock == NOBODY:
        yield Move(worker, Step.MARKED, number), _marked(state, worker, number, mem, lane, rules)


def appended(lane: Lane, row: tuple[int, str, int]) -> Lane:
    """The lane whose topic holds one more output."""
    return lane._replace(topic=tuple(sorted({*lane.topic, row[1:]})))


def _marked(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> State:
    mine = (mem.epoch, mem.token) == (lane.epoch, lane.token)
    if not mine and rules.wrong is not Wrong.MARK_WITHOUT_EPOCH:
        return with_both(state, worker, number, NO_MEM, dropped(lane, worker))
    trespass = lane.trespass or ("" if mine else Step.MARKED.value)
    return with_lane(state, number, lane._replace(published=mem.ack, before=-1, trespass=trespass))
