"""What the report says about time: from the records' own timestamps on the bus, not from counters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from testkit.run.bus_facts import KEY_BYTES, PLANES, Bus, Times

Milliseconds = NDArray[np.int64]
_NONE = b"\0" * KEY_BYTES


class Latency(NamedTuple):
    """Milliseconds of one hop, sorted."""

    name: str
    sorted_ms: Milliseconds

    def at(self, share: float) -> int:
        """The value that this share of the events does not exceed."""
        count = len(self.sorted_ms)
        return int(self.sorted_ms[min(count - 1, int(share * count))]) if count else 0


class Decided(NamedTuple):
    """Of every decision on the bus: when it could be made, when it stood there, and whether it had its context."""

    admitted_ms: Milliseconds
    """When its trigger was admitted."""
    possible_ms: Milliseconds
    """When the later of trigger and anchor was admitted."""
    decided_ms: Milliseconds
    ready: NDArray[np.bool_]

    @property
    def waited_ms(self) -> Milliseconds:
        """From the later admission to the decision."""
        return self.decided_ms - self.possible_ms


def decided(bus: Bus) -> Decided:
    """Joins decisions with what they are about. Raises KeyError where a decision names an event that is not on the bus."""
    times = bus.decided_at
    admitted = _Lookup(bus.admitted_at)
    triggers = admitted.first(bytes(times.sources))
    contexts = bytes(times.contexts)
    anchors = admitted.first(contexts, otherwise=_NONE)
    return Decided(
        admitted_ms=triggers,
        possible_ms=np.maximum(triggers, anchors),
        decided_ms=np.array(times.decisions.at_ms, dtype=np.int64),
        ready=np.array(times.ready, dtype=bool),
    )


def latencies(bus: Bus) -> list[Latency]:
    """Decision after the later of trigger and anchor; context waits that ended without one apart; outcome; audit."""
    found = decided(bus)
    decisions = _Lookup(bus.decided_at.decisions)
    return [
        Latency("trigger and anchor to decision", np.sort(found.waited_ms[found.ready])),
        Latency("trigger to decision without anchor", np.sort(found.waited_ms[~found.ready])),
        Latency("decision to outcome", _after(bus.outcome_at, decisions)),
        Latency("decision to audit", _after(bus.audited_at, decisions)),
    ]


def _after(times: Times, decisions: _Lookup) -> Milliseconds:
    return np.sort(np.array(times.at_ms, dtype=np.int64) - decisions.first(bytes(times.ids)))


class _Lookup:
    """Milliseconds by id; of copies the first."""

    def __init__(self, times: Times) -> None:
        keys, at_ms = _keys(bytes(times.ids)), np.array(times.at_ms, dtype=np.int64)
        order = np.lexsort((at_ms, keys))
        self._keys, self._at_ms = keys[order], at_ms[order]

    def first(self, ids: bytes, otherwise: bytes | None = None) -> Milliseconds:
        """Of each id; 0 for the id `otherwise`."""
        wanted = _keys(ids)
        places = np.searchsorted(self._keys, wanted)
        known = np.zeros(len(wanted), dtype=bool)
        inside = places < len(self._keys)
        known[inside] = self._keys[places[inside]] == wanted[inside]
        exempt = np.zeros(len(wanted), dtype=bool) if otherwise is None else wanted == _keys(otherwise)[0]
        if not np.all(known | exempt):
            lost = wanted[~(known | exempt)][0]
            raise KeyError(f"{bytes(lost).hex()}: a record names it and it is not on the bus")
        found = np.zeros(len(wanted), dtype=np.int64)
        found[known] = self._at_ms[places[known]]
        return found


def _keys(ids: bytes) -> NDArray[Any]:
    return np.frombuffer(ids, dtype=f"S{KEY_BYTES}")


def throughput(bus: Bus) -> tuple[int, dict[str, list[int]]]:
    """Second in which the first record was made (epoch), and records per second of each plane since then."""
    seconds = [second for counted in bus.per_second.values() for second in counted]
    if not seconds:
        return 0, {plane: [] for plane in PLANES}
    first, last = min(seconds), max(seconds)
    return first, {plane: [counted[second] for second in range(first, last + 1)] for plane, counted in bus.per_second.items()}


def slowest_after(bus: Bus, since_ms: int) -> int:
    """The longest time (ms) from trigger to decision of those triggers that were on the bus within 10 s of a moment."""
    found = decided(bus)
    near = np.abs(found.admitted_ms - since_ms) < 10_000
    return int((found.decided_ms - found.admitted_ms)[near].max(initial=0))


def records_by_topic(bus: Bus) -> dict[str, int]:
    """Records of each topic."""
    return dict(sorted(bus.by_topic.items()))
