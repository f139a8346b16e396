"""Samples the CPU of a process and says which step it was spent on: `python -m testkit.bench.profiled decision_fabric`.

Runs a module as it would run by itself. The kernel's profiling timer sends a signal for every few milliseconds of CPU; the handler walks
the stack once. At the end of the module (SIGTERM drains a worker and ends it) the samples are written as JSON to FP_PROFILE_OUT.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from testkit.bench.step_map import CpuStep, package_step, step_of

# The kernel checks CPU timers at its tick (4 ms at 250 Hz), so that a shorter interval becomes that one.
INTERVAL_S = 0.002
# Functions kept per step in the file: the ones at the top of the stack, where the CPU was.
_LEAVES = 12


class Profiler:
    """Samples this process from `start` to `stop`."""

    def __init__(self) -> None:
        # By identity: hashing a code object reads all of it. The code is kept, so that no other one gets its identity.
        self._known: dict[int, tuple[CodeType, CpuStep | None, CpuStep | None]] = {}
        self._samples: Counter[CpuStep] = Counter()
        self._leaves: Counter[tuple[CpuStep, str, str, int]] = Counter()
        self._handler_s = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Begin to sample."""
        self._began = time.time()
        gc.callbacks.append(self.collected)
        signal.signal(signal.SIGPROF, self._sample)
        # Else every read or connect of a library that does not expect it would end with EINTR.
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """No more samples."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(self.collected)

    @staticmethod
    def collected(_: str, __: dict[str, int]) -> None:
        """A signal that comes during a collection is handled when Python code runs next, which is here: so a sample knows of it."""

    def _sample(self, _: int, frame: FrameType | None) -> None:
        began = time.perf_counter()
        step, leaf = self.step(frame)
        self._samples[step] += 1
        if leaf is not None:
            self._leaves[(step, leaf.co_filename, leaf.co_qualname, leaf.co_firstlineno)] += 1
        self._handler_s += time.perf_counter() - began

    def step(self, frame: FrameType | None) -> tuple[CpuStep, CodeType | None]:
        """The step of a stack, and the function at its top."""
        leaf = frame.f_code if frame is not None else None
        fallback: CpuStep | None = None
        step: CpuStep | None = None
        while frame is not None:
            code = frame.f_code
            known = self._known.get(id(code))
            if known is None:
                known = self._known[id(code)] = (code, step_of(code), package_step(code.co_filename))
            if known[1] is not None and step is None:
                step = known[1]
                # A collection while importing is part of importing: look on.
                if step is not CpuStep.GC:
                    return step, leaf
            elif known[1] is CpuStep.START:
                return CpuStep.START, leaf
            fallback = fallback or known[2]
            frame = frame.f_back
        return step or fallback or CpuStep.OTHER, leaf

    def result(self, module: str) -> dict[str, object]:
        """Samples by step, and of each step the functions in which most of them fell."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        total = sum(self._samples.values())
        leaves: dict[str, list[tuple[str, int]]] = {}
        for (step, filename, name, line), count in self._leaves.most_common():
            kept = leaves.setdefault(step.value, [])
            if len(kept) < _LEAVES:
                kept.append((f"{name} ({_short(filename)}:{line})", count))
        return {
            "module": module,
            "pid": os.getpid(),
            "began_at": self._began,
            "ended_at": time.time(),
            "samples": total,
            "cpu_seconds": {"user": usage.ru_utime, "system": usage.ru_stime},
            "ms_per_sample": 1000 * (usage.ru_utime + usage.ru_stime) / total if total else None,
            "handler_seconds": self._handler_s,
            "steps": {step.value: count for step, count in self._samples.most_common()},
            "leaves": leaves,
        }


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


def main() -> None:
    """`python -m testkit.bench.profiled <module> [its arguments]`."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m testkit.bench.profiled <module> [arguments]")
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    out = Path(os.environ.get("FP_PROFILE_OUT", f"profile-{module}-{os.getpid()}.json"))
    profiler = Profiler()
    profiler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        profiler.stop()
        out.write_text(json.dumps(profiler.result(module), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
