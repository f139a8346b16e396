"""One seed gives one schedule and one stream; every kind of move, every step and every kind of mess comes in them."""

from collections import Counter
from itertools import chain, islice

import pytest

from spine.steps import Step
from testkit.chaos.commit_proxy import Cut
from testkit.chaos.run import parts_of
from testkit.chaos.schedule import KILLS, Kind, schedule
from testkit.chaos.stream import What, stream
from testkit.workloads import NAMES, Ask, named, record_of
from testkit.workloads.facts import Fact

STEPS = list(Step)


def test_a_seed_gives_one_schedule() -> None:
    assert schedule(1, 50, STEPS) == schedule(1, 50, STEPS)
    assert schedule(1, 50, STEPS) != schedule(2, 50, STEPS)


@pytest.mark.parametrize("kills", [10, 13, 100, 1000])
def test_every_kind_of_move_comes_and_the_kills_are_as_many_as_asked_for(kills: int) -> None:
    moves = schedule(3, kills, STEPS)
    kinds = Counter(move.kind for move in moves)
    assert set(kinds) == set(Kind)
    assert sum(kinds[kind] for kind in KILLS) == kills
    assert {move.cut for move in moves if move.kind is Kind.CUT} == set(Cut)


def test_a_long_run_kills_at_every_step_as_often_as_at_any_other() -> None:
    at = Counter(move.step for move in schedule(4, 1000, STEPS) if move.kind is Kind.KILL_AT)
    assert set(at) == set(STEPS)
    # Steps take turns, which a freeze now and then takes from a kill.
    assert max(at.values()) - min(at.values()) <= 6


@pytest.mark.parametrize("service", NAMES)
def test_a_seed_gives_one_stream(service: str) -> None:
    first, again = ([_bytes(piece.fact) for piece in islice(chain.from_iterable(parts_of(named(service), 5)), 300)] for _ in range(2))
    assert first == again
    assert first != [_bytes(piece.fact) for piece in islice(chain.from_iterable(parts_of(named(service), 6)), 300)]


@pytest.mark.parametrize("service", NAMES)
def test_every_kind_of_mess_comes_in_twenty_subjects(service: str) -> None:
    workload = named(service)
    found = {piece.what for piece in stream(workload, 5, 20)}
    wanted = set(What)
    if not workload.poison(5, 0):
        wanted.remove(What.POISON)
    if all(isinstance(fact, Ask) for fact in workload.facts(5, 0)):
        wanted -= {What.GARBAGE, What.UNLAWFUL, What.UNKNOWN_RUN}  # a command that is broken is refused, and leaves nothing
    assert found == wanted


@pytest.mark.parametrize("service", NAMES)
def test_a_mismatch_is_another_payload_of_the_same_identity_and_duplicates_are_the_same_bytes(service: str) -> None:
    pieces = stream(named(service), 5, 40)
    firsts = {(piece.fact.event_type.name, piece.fact.event_id): piece.fact for piece in pieces if piece.what is What.FIRST}
    for piece in pieces:
        if piece.what is What.DUPLICATE:
            assert _bytes(piece.fact) == _bytes(firsts[piece.fact.event_type.name, piece.fact.event_id])
        elif piece.what in (What.MISMATCH, What.ELSEWHERE):
            assert piece.fact.payload != firsts[piece.fact.event_type.name, piece.fact.event_id].payload


def _bytes(fact: Fact) -> object:
    return fact if isinstance(fact, Ask) else record_of(fact)
