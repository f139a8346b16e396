"""I1..I8 over one lane of the model, recomputed from the log and the chain of certificates (runtime.md, How it is proved)."""

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from testkit.model.law import CALL_INPUT, identity_of
from testkit.model.state import COMMAND, NOBODY, Lane, State


class Invariant(StrEnum):
    """What must hold; see the table in the package's docstring for what each says here."""

    I1 = "I1"
    I2 = "I2"
    I3 = "I3"
    I4 = "I4"
    I5 = "I5"
    I6 = "I6"
    I7 = "I7"
    I8 = "I8"
    ANSWERED = "ANSWERED"
    """A caller is told that its command is new exactly when this submission had the effect."""
    STUCK = "STUCK"
    """Nothing can happen but another fault, and not everything is consumed, settled, published and marked."""


class Violation(NamedTuple):
    """An invariant that does not hold, and what was found."""

    invariant: Invariant
    found: str


class _Fold(NamedTuple):
    inbox: frozenset[tuple[str, str]]
    state: tuple[str, ...]
    outbox: tuple[tuple[int, str, int], ...]
    anomalies: frozenset[tuple[str, str]]
    verdicts: tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def of_lane(lane: Lane) -> tuple[Violation, ...]:
    """Everything that does not hold of a lane, at any moment."""
    fold = _fold(lane)
    found: list[Violation] = []

    def differ(invariant: Invariant, what: str, stored: object, due: object) -> None:
        if stored != due:
            found.append(Violation(invariant, f"{what} is {stored}, the log and the certificates give {due}"))

    differ(Invariant.I1, "the inbox", sorted(lane.inbox), sorted(fold.inbox))
    differ(Invariant.I2, "the state", lane.state, fold.state)
    differ(Invariant.I3, "the outbox", lane.outbox, fold.outbox)
    emitted = {row[1:] for row in lane.outbox}
    if strange := sorted(set(lane.topic) - emitted):
        found.append(Violation(Invariant.I4, f"the topic holds {strange}, which no committed transaction emitted"))
    if gone := [row for row in lane.outbox if row[0] <= lane.published and row[1:] not in lane.topic]:
        found.append(Violation(Invariant.I4, f"{gone} is marked as published and is not on the topic"))
    differ(Invariant.I5, "the anomalies", sorted(lane.anomalies), sorted(fold.anomalies))
    if broken := _broken_chain(lane):
        found.append(Violation(Invariant.I6, broken))
    if lane.trespass:
        found.append(Violation(Invariant.I7, f"{lane.trespass} wrote under a claim that was over"))
    differ(Invariant.I8, "the verdicts", tuple(cert[5] for cert in lane.chain if cert[2] in ("R", COMMAND)), fold.verdicts)
    return tuple(found)


def _fold(lane: Lane) -> _Fold:
    """What the inputs of the lane give, in lane_seq order. It shares no code with the transitions: it judges them."""
    first: dict[str, str] = {}
    state: list[str] = []
    outbox: list[tuple[int, str, int]] = []
    waiting: list[str] = []
    anomalies: set[tuple[str, str]] = set()
    verdicts: list[str] = []

    def effect(seq: int, name: str) -> None:
        outbox.append((seq, name, len(state)))
        state.append(name)

    for seq, (_, _, inlet, start, stop, _) in enumerate(lane.chain, 1):
        inputs = list(lane.log[start:stop]) if inlet == "R" else ["c1"] if inlet == COMMAND else []
        if inlet == "A":
            effect(seq, CALL_INPUT)
        if inlet == "T":
            for late in waiting:
                effect(seq, late)
            waiting = []
        letters = ""
        for name in inputs:
            known = first.setdefault(identity_of(name), name)
            is_first = known == name and identity_of(name) not in {identity_of(before) for before in (*state, *waiting)}
            letters += "N" if is_first else "D" if known == name else "M"
            if known != name:
                anomalies.add((identity_of(name), name))
            if not is_first:
                continue
            if name[0] == "w" and not any(before[0] == "k" for before in state):
                waiting.append(name)
                continue
            effect(seq, name)
            if name[0] == "k":
                for late in waiting:
                    effect(seq, late)
                waiting = []
        if inputs:
            verdicts.append(letters)
    inbox = frozenset((identity, payload) for identity, payload in first.items())
    return _Fold(inbox, tuple(state), tuple(outbox), frozenset(anomalies), tuple(verdicts))


def _broken_chain(lane: Lane) -> str:
    place = 0
    if len(lane.chain) != lane.seq:
        return f"lane_seq is {lane.seq}, certificates are {len(lane.chain)}"
    for seq, (_, _, inlet, start, stop, _) in enumerate(lane.chain, 1):
        if inlet != "R":
            continue
        if start != place:
            return f"certificate {seq} covers offsets {start}..{stop}, the one before ended at {place}"
        place = stop
    return "" if place == lane.position else f"the lane stands at {lane.position}, its certificates end at {place}"


def of_doors(state: State) -> tuple[Violation, ...]:
    """What callers of the command were told against what was done."""
    found = []
    for door in state.doors:
        if door.phase == "TOLD":
            mine = any(cert[2] == COMMAND and cert[3] == door.submission and cert[5] == "N" for cert in state.lanes[0].chain)
            if (door.answer == "N") != mine:
                found.append(
                    Violation(Invariant.ANSWERED, f"submission {door.submission} was told {door.answer!r}, it had the effect: {mine}")
                )
    return tuple(found)


def at_rest(state: State) -> tuple[Violation, ...]:
    """What is left undone in a state in which nothing can happen but another fault."""
    left: list[str] = []
    for number, lane in enumerate(state.lanes):
        where = f"lane{number}"
        if lane.position != len(lane.log):
            left.append(f"{where} stands at {lane.position} of {len(lane.log)}")
        if lane.pending or lane.call not in ("", "SETTLED"):
            left.append(f"{where} waits for {lane.pending or lane.call}")
        if missing := sorted({row[1:] for row in lane.outbox} - set(lane.topic)):
            left.append(f"{where} has not published {missing}")
        if lane.outbox and lane.published < lane.outbox[-1][0]:
            left.append(f"{where} is marked up to {lane.published} of {lane.outbox[-1][0]}")
        if lane.lock != NOBODY:
            left.append(f"{where} is locked")
    left += [f"submission {door.submission} has no answer" for door in state.doors if door.submission and door.phase != "TOLD"]
    return (Violation(Invariant.STUCK, "; ".join(left)),) if left else ()
