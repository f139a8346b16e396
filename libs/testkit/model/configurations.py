"""What is explored: each configuration exhaustively within its bounds, which its line of output repeats."""

from typing import NamedTuple

from testkit.model.state import Budget


class Configuration(NamedTuple):
    """Two workers, these logs (each alternative is a start of its own), and these faults."""

    name: str
    logs: tuple[tuple[tuple[str, ...], ...], ...]
    budget: Budget
    command: bool = False
    batch: int = 2

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        logs = " or ".join(" | ".join(" ".join(log) or "-" for log in lanes) for lanes in self.logs)
        kinds = ", ".join(f"{getattr(self.budget, kind)} {kind}" for kind in Budget._fields[1:] if getattr(self.budget, kind))
        command = "; a command" if self.command else ""
        faults = f"at most {self.budget.total} of ({kinds})" if kinds else "no fault"
        return f"records {logs}{command}; {faults}; {self.batch} records a batch"


# Together about 1.5 million moves: half a minute on a busy core. Each covers what the others leave out; the whole at once (two lanes, four
# records, a command, a timer and every fault) has more states than a minute can look at, and is not claimed.
RECORDS = Configuration("records", ((("e1", "e2", "e1", "e1'"),),), Budget(2, crash=1, pause=1, handover=1, lost=1, skip=1))
DEEP = Configuration("deep", ((("e1", "e2"),),), Budget(3, crash=2, pause=2, handover=1, lost=2, skip=1))
COMMAND = Configuration("command", ((("e1",),),), Budget(1, crash=1, pause=1, handover=1, lost=1, resend=1), command=True)
ANSWERED = Configuration("answered", ((("e1",),),), Budget(2, crash=1, lost=1), command=True)
CALL = Configuration("call", ((("p1",),),), Budget(2, crash=1, pause=2, handover=1, lost=1, outside=2))
TIMER = Configuration("timer", ((("w1", "k1"),), (("k1", "w1"),), (("w1", "e1"),)), Budget(2, crash=2, pause=2, handover=1, lost=1))
FAILOVER = Configuration("failover", ((("e1", "e2"),),), Budget(2, crash=1, pause=1, failover=1))
LANES = Configuration("lanes", ((("e1", "e2"), ("e3",)),), Budget(1, crash=1, pause=1, handover=1, lost=1))
ALL_INLETS = Configuration("all inlets", ((("w1", "k1"), ("e1",)),), Budget(0), command=True)

CONFIGURATIONS = (RECORDS, DEEP, COMMAND, ANSWERED, CALL, TIMER, FAILOVER, LANES, ALL_INLETS)
