"""Steps of the code that are no move of the model's protocol, each with the move that it is part of, and why nothing is lost by it."""

from spine.steps import Step

COLLAPSED: dict[Step, tuple[Step, str]] = {
    Step.FETCHED: (
        Step.LANE_LOCKED,
        "a fetch fills private memory from a log that only grows: choosing the records when the lane is locked is the same choice",
    ),
    Step.DECODED: (Step.LANE_LOCKED, "private memory"),
    Step.TX_BEGUN: (Step.LANE_LOCKED, "READ COMMITTED: a transaction that has run no statement sees nothing and locks nothing"),
    Step.DEDUPED: (
        Step.LANE_LOCKED,
        "uncommitted, under the lane's lock, and rolled back with the connection; a move of its own under DEDUPE_OUTSIDE_TRANSACTION",
    ),
    Step.STATE_READ: (Step.LANE_LOCKED, "reads what only the holder of the lane's lock writes; sums over lanes are kept as read"),
    Step.EFFECTS_DECIDED: (Step.LANE_LOCKED, "private memory"),
    Step.EFFECTS_WRITTEN: (Step.LANE_LOCKED, "uncommitted, under the lane's lock, and rolled back with the connection"),
    Step.BEFORE_COMMIT: (Step.LANE_LOCKED, "nothing is visible before COMMIT; a COMMIT that is sent and not answered is the fault `lost`"),
    Step.SENT: (Step.OUTBOX_READ, "rows in the client's buffer are private memory; what the broker takes of them is the move `append`"),
    Step.ANSWER_SETTLED: (Step.COMMITTED, "the answer leaves the runner's memory, which nothing but that runner reads"),
    Step.RECORDED: (Step.LEASE_TAKEN, "what became of a lane's ownership is told to the operator; nothing of the protocol reads it back"),
    Step.STARTED: (Step.LEASE_TAKEN, "a process that has only started owns nothing"),
    Step.DRAINED: (Step.RELEASED, "private memory: nothing is in hand any more"),
    Step.STOPPED: (
        Step.RELEASED,
        "a lane that is stopped is a released one that nobody may claim; no topic is made anew here, and one skipped record is closed by a "
        "second read",
    ),
    Step.LEFT: (Step.RELEASED, "the row of a worker only counts fair shares; here any worker may claim any free lane"),
}
