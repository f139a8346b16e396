"""The inputs of a run: a workload's facts with duplicates, mismatches, poison and disorder, as a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from testkit.workloads import Ask, Fact, Workload
from testkit.workloads.facts import garbage, of_unknown_run, unlawful


class What(StrEnum):
    """What one piece of the stream is to its service."""

    FIRST = "first"
    DUPLICATE = "duplicate"
    MISMATCH = "mismatch"
    ELSEWHERE = "mismatch on another lane"
    GARBAGE = "garbage"
    UNLAWFUL = "unlawful"
    UNKNOWN_RUN = "unknown run"
    POISON = "poison"


@dataclass(frozen=True)
class Piece:
    """One thing to send."""

    what: What
    fact: Fact
    contested: bool
    """Another payload goes under the same identity: whichever comes first is the first, and the other is refused."""


# Pieces change places within this many: enough that what belongs together comes in any order, and in other batches.
_DISORDER = 12
# A duplicate comes this many pieces behind its first: in its batch, or after its owner has died.
_FAR = 60

# Which subjects of twenty get what. Every kind comes in any twenty subjects, and poison is far below the breaker's ratio.
_OF_TWENTY: dict[int, What] = {
    1: What.DUPLICATE,
    3: What.MISMATCH,
    6: What.DUPLICATE,
    8: What.ELSEWHERE,
    11: What.GARBAGE,
    13: What.MISMATCH,
    14: What.UNLAWFUL,
    16: What.DUPLICATE,
    17: What.UNKNOWN_RUN,
    19: What.POISON,
}
# Subjects that give their key to poison: numbers far from those of the stream, so that no lawful fact is parked behind it.
_POISON_SUBJECTS = 1_000_000


def stream(workload: Workload, seed: int, subjects: int, first: int = 0) -> list[Piece]:
    """The pieces of `subjects` subjects from number `first` on, in the order of sending."""
    chance = random.Random(f"{workload.service}/{seed}/{first}")  # noqa: S311  a repeatable draw, no secret
    placed: list[tuple[float, Piece]] = []
    place = 0.0
    for number in range(first, first + subjects):
        facts = workload.facts(seed, number)
        what = _OF_TWENTY.get(number % 20)
        contested = what in (What.MISMATCH, What.ELSEWHERE)
        for fact in facts:
            place += 1.0
            placed.append((place + chance.uniform(0, _DISORDER), Piece(What.FIRST, fact, contested)))
        if what is not None:
            placed += [(place + chance.uniform(0, _FAR), piece) for piece in _mess(workload, what, facts, seed, number)]
    return [piece for _, piece in sorted(placed, key=lambda entry: entry[0])]


def _mess(workload: Workload, what: What, facts: Sequence[Fact], seed: int, number: int) -> list[Piece]:
    if what is What.DUPLICATE:
        return [Piece(what, fact, contested=False) for fact in facts]
    if what is What.MISMATCH:
        return [Piece(what, workload.other(fact), contested=True) for fact in facts]
    if what is What.ELSEWHERE:
        return [Piece(what, workload.elsewhere(fact), contested=True) for fact in facts]
    if what is What.POISON:
        return [Piece(what, fact, contested=False) for fact in workload.poison(seed, number + _POISON_SUBJECTS)]
    breaking = {What.GARBAGE: garbage, What.UNLAWFUL: unlawful, What.UNKNOWN_RUN: of_unknown_run}[what]
    # Commands that are broken are refused at the boundary: they have no identity, and leave nothing to audit.
    records = [fact for fact in workload.facts(seed, number + _POISON_SUBJECTS) if not isinstance(fact, Ask)]
    return [Piece(what, breaking(fact), contested=False) for fact in records[:1]]
