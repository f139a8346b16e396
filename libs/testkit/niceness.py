"""Who gets a core first where cores are short: on one machine what CPU requests are in a cluster."""

import contextlib
import os
from pathlib import Path


def give_way(pid: int, niceness: int) -> None:
    """Let a process that leads a session of its own give way to others, from 0 (to nobody) to 19 (to everybody).

    A kernel that shares cores out between sessions looks at the niceness of processes within one session only; so the session gets it too.
    """
    os.setpriority(os.PRIO_PROCESS, pid, niceness)
    # Not there where the kernel knows no groups of sessions, not writable in some containers: the process's own niceness is left then.
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")
