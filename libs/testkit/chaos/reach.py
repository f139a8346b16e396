"""Which steps a worker of a service can pass."""

from __future__ import annotations

from spine.service import Service
from spine.steps import Step

_ALWAYS = frozenset(
    {
        Step.STARTED,
        Step.TX_BEGUN,
        Step.LANE_LOCKED,
        Step.DEDUPED,
        Step.STATE_READ,
        Step.EFFECTS_DECIDED,
        Step.EFFECTS_WRITTEN,
        Step.BEFORE_COMMIT,
        Step.COMMITTED,
        Step.OUTBOX_READ,
        Step.SENT,
        Step.PUBLISHED,
        Step.MARKED,
        Step.LEASE_TAKEN,
        Step.CLAIMED,
        Step.RENEWED,
        Step.RECORDED,
    }
)
# Passed once in a life: a second passage never comes.
ONCE = frozenset({Step.STARTED})
# Passed by a worker that is told to leave: the schedule ends such a life with SIGTERM, and the step kills it on its way out.
ON_THE_WAY_OUT = frozenset({Step.DRAINING, Step.DRAINED, Step.RELEASED, Step.LEFT})
# Passed only after the wire broke at a COMMIT: such a life is given a cut.
AFTER_A_CUT = frozenset({Step.COMMIT_SETTLED})
# STOPPED is left out: a lane that stops stays stopped until an operator looks, which ends a run.
_RECORDS = frozenset({Step.FETCHED, Step.DECODED, Step.POSITIONED})
_TASKS = frozenset({Step.TASK_RESERVED, Step.TASK_CALLED, Step.TASK_RESCHEDULED, Step.ANSWER_SETTLED})
_COMMANDS = frozenset({Step.COMMAND_RECEIVED, Step.COMMAND_COMMITTED})


def reachable(service: Service) -> list[Step]:
    """Every step at which a worker of the service can die while it serves lawful inputs, in the order of the steps."""
    found = set(_ALWAYS | ON_THE_WAY_OUT | AFTER_A_CUT)
    for group in service.groups:
        found |= _RECORDS if group.doors else set()
        found |= _TASKS if group.tasks else set()
        found |= _COMMANDS if group.commands else set()
        found |= {Step.TIMER_DUE} if group.timers else set()
    return [step for step in Step if step in found]
