"""Transitions of a lane's applier: batches of records, firings, answers; COMMIT and its settling (runtime.md, The transaction)."""

from spine.steps import Step
from testkit.model import law
from testkit.model.moves import Move
from testkit.model.rules import Rules, Successors
from testkit.model.state import NO_MEM, NOBODY, Inlet, Job, Lane, Mem, Role, State, Tx, with_both, with_mem
from testkit.wrong import Wrong


def applier(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    """What the applier of one lane may do next."""
    if mem.tx is Tx.OPEN:
        yield from _close(state, worker, number, mem, lane, rules)
    elif mem.tx is Tx.UNKNOWN:
        yield from _settle(state, worker, number, mem, lane, rules)
    elif lane.lock == NOBODY and mem.role in (Role.SERVING, Role.DRAINING):
        yield from _begin(state, worker, number, mem, lane, rules)


def _begin(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    serving = mem.role is Role.SERVING
    if serving and mem.next < len(lane.log):
        for stop in range(mem.next + 1, min(mem.next + rules.batch, len(lane.log)) + 1):
            move = Move(worker, Step.LANE_LOCKED, number, f"records {stop - mem.next}")
            yield _locked(state, worker, number, mem, lane, rules, move, (Inlet.RECORDS, mem.next, stop))
    if serving and lane.pending:
        yield _locked(state, worker, number, mem, lane, rules, Move(worker, Step.TIMER_DUE, number), (Inlet.TIMER, 0, 0))
    if mem.call == "DONE":
        yield _locked(state, worker, number, mem, lane, rules, Move(worker, Step.LANE_LOCKED, number, "answer"), (Inlet.ANSWER, 0, 0))


def _locked(
    state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules, move: Move, work: tuple[Inlet, int, int]
) -> tuple[Move, State]:
    if not law.may_apply(lane, mem, rules.wrong):
        return move, with_mem(state, worker, number, NO_MEM)
    inlet, start, stop = work
    if inlet is Inlet.RECORDS and start != lane.position and not (rules.wrong is Wrong.GAPS_ALLOWED and start > lane.position):
        # Refused by the compare-and-set of the position: the intake stands again where the lane stands.
        return move, with_mem(state, worker, number, mem._replace(next=lane.position))
    if inlet is Inlet.ANSWER and lane.call == "SETTLED":
        # Its pending row is gone: it was applied before, and there is nothing to apply.
        return move, with_mem(state, worker, number, mem._replace(call=""))
    job = Job(inlet, mem.epoch, mem.token, start, stop, mem.ack)
    return move, with_both(state, worker, number, mem._replace(tx=Tx.OPEN, job=job), lane._replace(lock=worker))


def _close(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    job = mem.job
    if job is None:
        return
    if rules.wrong is Wrong.DEDUPE_OUTSIDE_TRANSACTION and job.inlet is Inlet.RECORDS and not job.seen:
        verdicts = law.judge(lane, job)
        after = with_both(state, worker, number, mem._replace(job=job._replace(seen=verdicts)), law.remember(lane, job, verdicts))
        yield Move(worker, Step.DEDUPED, number), after
        return
    after_lane = law.close(lane, job)._replace(lock=NOBODY)
    yield Move(worker, Step.COMMITTED, number), with_both(state, worker, number, _told(mem, lane, after_lane), after_lane)


def _told(mem: Mem, before: Lane, after: Lane) -> Mem:
    job = mem.job
    if job is None:
        return mem
    return mem._replace(
        tx=Tx.IDLE,
        job=None,
        next=job.stop if job.inlet is Inlet.RECORDS else mem.next,
        awake=mem.awake or len(after.outbox) > len(before.outbox),
        call="" if job.inlet is Inlet.ANSWER else mem.call,
    )


def _settle(state: State, worker: int, number: int, mem: Mem, lane: Lane, rules: Rules) -> Successors:
    job = mem.job
    if job is None or (lane.lock != NOBODY and rules.wrong is not Wrong.PLAIN_READ_AFTER_LOST_COMMIT):
        return
    if law.is_settled(lane, mem.seq, job):
        # It is in, but what it did was not told: the publisher looks at everything that it may have left.
        after = mem._replace(
            tx=Tx.IDLE,
            job=None,
            seq=0,
            next=job.stop if job.inlet is Inlet.RECORDS else mem.next,
            awake=True,
            call="" if job.inlet is Inlet.ANSWER else mem.call,
        )
    else:
        after = mem._replace(tx=Tx.IDLE, job=None, seq=0)
    yield Move(worker, Step.COMMIT_SETTLED, number), with_mem(state, worker, number, after)
