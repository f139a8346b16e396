"""Faults at named steps, for tests of the spine and of services: `KILL BEFORE_COMMIT 3` (FP_FAULTS, on local_parity only)."""

import os
import signal
from collections import Counter

from spine.steps import Step, install

_SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}


def install_faults(spec: str) -> None:
    """Install `<KILL|STOP> <step> <n>`: this process gets the signal when it reaches the step for the n-th time.

    Raises ValueError, naming the part, for anything else.
    """
    parts = spec.split()
    if len(parts) != 3 or parts[0] not in _SIGNALS or parts[1] not in Step.__members__ or not parts[2].isdigit():
        raise ValueError(f"FP_FAULTS={spec!r}: write <{'|'.join(_SIGNALS)}> <step> <n>, with a step of {', '.join(Step)}")
    number, step, nth = _SIGNALS[parts[0]], Step(parts[1]), int(parts[2])
    reached: Counter[Step] = Counter()

    def hook(at: Step) -> None:
        reached[at] += 1
        if at is step and reached[at] == nth:
            os.kill(os.getpid(), number)

    install(hook)
