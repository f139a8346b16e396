"""Where each wrong variant is caught, and by which invariant: the damage that its missing rule was there to prevent."""

from typing import NamedTuple

from testkit.model.configurations import Configuration
from testkit.model.invariants import Invariant
from testkit.model.state import Budget
from testkit.wrong import Wrong


class Catch(NamedTuple):
    """The configuration in which a variant is looked for, and the invariant that it must break."""

    configuration: Configuration
    invariant: Invariant


_ONE = Configuration("one record", ((("e1",),),), Budget(1, crash=1, pause=1, lost=1))
_CRASH = Configuration("one record and a crash", ((("e1",),),), Budget(1, crash=1))
_TWO = Configuration("two records", ((("e1", "e2"),),), Budget(1, skip=1))
_CALL = Configuration("a call", ((("p1",),),), Budget(2, pause=1, outside=1))
_COMMAND = Configuration("a command", (((),),), Budget(2, crash=1, lost=1), command=True)

CATCHES = {
    # The inbox runs ahead of the certificates at once (I1); what it costs is an event that is never applied.
    Wrong.DEDUPE_OUTSIDE_TRANSACTION: Catch(_CRASH, Invariant.I2),
    Wrong.GAPS_ALLOWED: Catch(_TWO, Invariant.I6),
    # Rows of the outbox never change, so a zombie's mark says nothing false; it is a write under a claim that is over all the same.
    Wrong.MARK_WITHOUT_EPOCH: Catch(_ONE, Invariant.I7),
    Wrong.MARK_PAST_UNACKNOWLEDGED: Catch(_ONE, Invariant.I4),
    # The retry is refused by the position, the intake stands again, and nobody tells the publisher of what is in.
    Wrong.PLAIN_READ_AFTER_LOST_COMMIT: Catch(_ONE, Invariant.STUCK),
    Wrong.PUBLISH_BEFORE_COMMIT: Catch(_ONE, Invariant.I4),
    Wrong.LEASE_TRUSTED: Catch(_ONE, Invariant.I7),
    Wrong.TASK_WRITE_UNFENCED: Catch(_CALL, Invariant.I7),
    Wrong.LOST_COMMIT_IS_NEW: Catch(_COMMAND, Invariant.ANSWERED),
}
