"""Run a program as an unprivileged user: `python _unprivileged.py <uid> <gid> <program> <argument>...`; started as root only.

PostgreSQL refuses to run as root. Its files may lie under a home folder that only root may enter, so one capability, to read
and enter every folder, is kept through the change of user; opening the folders to everybody would change the machine. Standard
library only: it runs without site-packages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1  # containers often have only this one
CAP_DAC_READ_SEARCH = 2  # the narrower right: read and enter, not write


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _kept_capability(libc: ctypes.CDLL) -> int | None:
    header, words = _Header(CAPABILITY_VERSION_3, 0), (_Word * 2)()
    if libc.capget(ctypes.byref(header), words) != 0:
        return None
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if words[0].permitted & (1 << capability):
            return capability
    return None


def _keep(libc: ctypes.CDLL, capability: int) -> None:
    bit = 1 << capability
    header, words = _Header(CAPABILITY_VERSION_3, 0), (_Word * 2)(_Word(bit, bit, bit), _Word(0, 0, 0))
    if libc.capset(ctypes.byref(header), words) != 0 or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"capability {capability} could not be kept")


def main() -> None:
    uid, gid, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    capability = _kept_capability(libc)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability is not None:
        _keep(libc, capability)
    # The change of user cleared the death signal that the parent had set: without this line the program outlives a killed parent.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execv(argv[0], argv)  # noqa: S606 - the caller's own program, no shell


if __name__ == "__main__":
    main()
