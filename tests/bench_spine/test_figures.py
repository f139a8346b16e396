"""Latency is joined from the topics' own times; recovery, memory and CPU come from what was looked at."""

import hashlib

import numpy as np
import pytest

from testkit.bench.spine_figures import (
    WINDOW_S,
    Window,
    admitted_between,
    cpu_us_per_event,
    memories,
    percentiles,
    recovery,
    windows,
)
from testkit.bench.usage import Spent
from testkit.bench.watch import Look
from testkit.run.bus_facts import Bus
from testkit.run.figures import decided, latencies


def hex_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bus_of(*decisions: tuple[int, int | None, int]) -> Bus:
    """A bus with (trigger at, anchor at, decided at), each in milliseconds; every trigger has a later copy."""
    bus = Bus()
    for number, (trigger, anchor, made) in enumerate(decisions):
        bus.admitted_at.add(hex_id(f"t{number}"), trigger)
        bus.admitted_at.add(hex_id(f"t{number}"), trigger + 100_000)
        if anchor is not None:
            bus.admitted_at.add(hex_id(f"a{number}"), anchor)
        times = bus.decided_at
        times.decisions.add(hex_id(f"d{number}"), made)
        times.sources += bytes.fromhex(hex_id(f"t{number}")[:32])
        times.contexts += bytes.fromhex(hex_id(f"a{number}")[:32]) if anchor is not None else bytes(16)
        times.ready.append(anchor is not None)
        bus.outcome_at.add(hex_id(f"d{number}"), made + 7)
    return bus


def test_a_decision_is_measured_from_the_later_of_trigger_and_anchor() -> None:
    found = decided(bus_of((1000, 900, 1300), (2000, 2200, 2250), (3000, None, 4000)))
    assert list(found.possible_ms) == [1000, 2200, 3000]
    assert list(found.waited_ms) == [300, 50, 1000]
    assert list(found.ready) == [True, True, False]
    ready, missing, outcome, _ = latencies(bus_of((1000, 900, 1300), (2000, 2200, 2250), (3000, None, 4000)))
    assert list(ready.sorted_ms) == [50, 300]
    assert list(missing.sorted_ms) == [1000]
    assert list(outcome.sorted_ms) == [7, 7, 7]


def test_a_decision_about_nothing_on_the_bus_is_no_latency() -> None:
    bus = bus_of((1000, 900, 1300))
    bus.decided_at.sources[:16] = bytes([7] * 16)
    with pytest.raises(KeyError, match="07" * 16):
        decided(bus)


def test_windows_hold_ten_seconds_each() -> None:
    found = windows(decided(bus_of(*((1000 * second, 1000 * second, 1000 * second + second) for second in range(30)))))
    assert [(window.at, window.events, window.max) for window in found] == [(0, 10, 9), (10, 10, 19), (20, 10, 29)]
    assert percentiles(np.array([], dtype=np.int64)) == {"events": 0, "p50": 0, "p95": 0, "p99": 0, "max": 0}


def look(at: float, backlog: int = 0, **spent: Spent) -> Look:
    return Look(at, {"decision_fabric": {0: backlog}}, {}, spent, {}, {})


def test_recovery_is_when_latency_and_backlog_are_back_and_stay_back() -> None:
    calm = [Window(at, 100, 10, 50, 60, 70) for at in range(0, 300, WINDOW_S)]
    slow = [window._replace(p95=5000) if 100 <= window.at < 140 else window for window in calm]
    looks = [look(float(at), 1000 if 100 <= at < 155 else 5) for at in range(300)]
    assert recovery(slow, looks, (0, 100), 120.0) == 34.0
    assert recovery(slow, [look(float(at), 5) for at in range(300)], (0, 100), 120.0) == 20.0
    assert recovery(calm, [look(float(at), 5) for at in range(300)], (0, 100), 120.0) == 0.0
    assert recovery(calm, [look(float(at), 1000 if at >= 100 else 5) for at in range(300)], (0, 100), 120.0) is None


def test_memory_that_grows_is_told_from_memory_that_moves() -> None:
    looks = [
        look(
            float(at),
            leaking=Spent(0.0, 100_000_000 + 200_000 * at),
            flat=Spent(0.0, 100_000_000 + 1_000_000 * (at % 3)),
            filling=Spent(0.0, 100_000_000 + 1_000_000 * min(at, 40)),
        )
        for at in range(100)
    ]
    found = {memory.name: memory for memory in memories(looks, 0, 99)}
    assert not found["leaking"].flat
    assert found["leaking"].growth_bytes == pytest.approx(200_000 * 99)
    assert found["flat"].flat
    assert found["filling"].flat, "what fills up in the first half and stays so leaks nothing"
    assert found["filling"].growth_bytes > 20_000_000


def test_cpu_is_shared_out_over_the_events_of_the_same_time() -> None:
    looks = [look(float(at), df=Spent(0.3 * at, 1), idle=Spent(5.0, 1)) for at in range(11)]
    assert cpu_us_per_event(looks, 0, 10, 10_000) == {"df": pytest.approx(300.0)}
    told = [{"at": float(at), "admitted": 50 * at} for at in range(1, 10)]
    assert admitted_between(told, 0, 10) == 500
