"""What one transaction of a lane commits, as a function of the lane row that it has locked (runtime.md, The transaction)."""

from testkit.model.state import COMMAND, LETTER, Inlet, Job, Lane, Mem
from testkit.wrong import Wrong

NEW, DUPLICATE, MISMATCH = "N", "D", "M"
CALL_INPUT, CALL_OUTPUT = "answer", "call"


def identity_of(record: str) -> str:
    """The identity of a record; a copy with another payload has the same."""
    return record.rstrip("'")


def verdict_of(inbox: dict[str, str], record: str) -> str:
    """NEW, DUPLICATE or MISMATCH against what is known."""
    known = inbox.get(identity_of(record))
    if known is None:
        return NEW
    return DUPLICATE if known == record else MISMATCH


class _Turn:
    """The effects of one transaction while they are decided."""

    def __init__(self, lane: Lane) -> None:
        self.seq = lane.seq + 1
        self.state = list(lane.state)
        self.outbox = list(lane.outbox)
        self.pending = list(lane.pending)
        self.anomalies = list(lane.anomalies)
        self.call = lane.call

    def effect(self, name: str) -> None:
        self.outbox.append((self.seq, name, len(self.state)))
        self.state.append(name)

    def record(self, record: str, *, keyed: bool) -> None:
        kind = record[0]
        if kind == "w" and not keyed:
            self.pending.append(record)
            return
        self.effect(record)
        if kind == "k":
            for waiting in self.pending:
                self.effect(waiting)
            self.pending.clear()
        elif kind == "p":
            self.call = "RESERVED"

    def fire(self) -> None:
        for waiting in self.pending:
            self.effect(waiting)
        self.pending.clear()

    def done(self, lane: Lane, job: Job, cert: tuple[int, int, str], where: tuple[int, int], verdicts: str) -> Lane:
        start, stop = where
        return lane._replace(
            seq=self.seq,
            before=-1,
            published=max(lane.published, job.mark),
            state=tuple(self.state),
            outbox=tuple(self.outbox),
            pending=tuple(self.pending),
            anomalies=tuple(self.anomalies),
            call=self.call,
            chain=(*lane.chain, (*cert, start, stop, verdicts)),
            trespass=lane.trespass or ("" if job.token == lane.token else "COMMITTED"),
        )


def judge(lane: Lane, job: Job) -> tuple[str, ...]:
    """The verdicts of a batch of records, without writing anything."""
    inbox = dict(lane.inbox)
    verdicts = []
    for record in lane.log[job.start : job.stop]:
        verdict = verdict_of(inbox, record)
        if verdict == NEW:
            inbox[identity_of(record)] = record
        verdicts.append(verdict)
    return tuple(verdicts)


def remember(lane: Lane, job: Job, verdicts: tuple[str, ...]) -> Lane:
    """The inbox with the first sights of a batch."""
    fresh = [(identity_of(record), record) for record, verdict in _judged(lane, job, verdicts) if verdict == NEW]
    return lane._replace(inbox=(*lane.inbox, *fresh)) if fresh else lane


def _judged(lane: Lane, job: Job, verdicts: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(lane.log[job.start : job.stop], verdicts, strict=True))


def close(lane: Lane, job: Job) -> Lane:
    """The lane after a transaction of its owner."""
    turn = _Turn(lane)
    cert = (job.epoch, job.token, LETTER[job.inlet])
    if job.inlet is Inlet.TIMER:
        turn.fire()
        return turn.done(lane, job, cert, (0, 0), NEW * len(lane.pending))
    if job.inlet is Inlet.ANSWER:
        turn.effect(CALL_INPUT)
        turn.call = "SETTLED"
        return turn.done(lane, job, cert, (0, 0), NEW)
    verdicts = job.seen or judge(lane, job)
    keyed = any(name[0] == "k" for name in lane.state)
    for record, verdict in _judged(lane, job, verdicts):
        if verdict == NEW:
            turn.record(record, keyed=keyed)
            keyed = keyed or record[0] == "k"
        elif verdict == MISMATCH and (identity_of(record), record) not in turn.anomalies:
            turn.anomalies.append((identity_of(record), record))
    written = lane if job.seen else remember(lane, job, verdicts)
    return turn.done(written, job, cert, (job.start, job.stop), "".join(verdicts))._replace(position=job.stop)


def close_command(lane: Lane, submission: int) -> tuple[Lane, str]:
    """The lane after a command, and the verdict that it got. A command shows no fence: the lane's lock is all that it needs."""
    turn = _Turn(lane)
    verdict = verdict_of(dict(lane.inbox), "c1")
    job = Job(Inlet.NONE, lane.epoch, lane.token, 0, 0, 0)
    if verdict == NEW:
        turn.effect("c1")
        lane = lane._replace(inbox=(*lane.inbox, ("c1", "c1")))
    after = turn.done(lane, job, (lane.epoch, lane.token, COMMAND), (submission, submission), verdict)
    return after, verdict


def may_apply(lane: Lane, mem: Mem, wrong: Wrong | None) -> bool:
    """Whether the fence that a worker shows is the lane's."""
    return wrong is Wrong.LEASE_TRUSTED or (mem.epoch, mem.token) == (lane.epoch, lane.token)


def is_settled(lane: Lane, seq: int, job: Job) -> bool:
    """Whether the certificate of a lane_seq is the one of this transaction."""
    if len(lane.chain) < seq:
        return False
    epoch, token, letter, start, stop, _ = lane.chain[seq - 1]
    return (epoch, token, letter, start, stop) == (job.epoch, job.token, LETTER[job.inlet], job.start, job.stop)
