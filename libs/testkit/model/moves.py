"""One move of the model, and scripts of them: one line a move, read back by `parse` (what a counter-example prints as)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spine.steps import Step

# What happens to a worker or to the world, which is no step of the protocol.
CRASH, PAUSE, LOST, LANDS, DIES, SKIP, RESEND, FAILOVER, APPEND = (
    "crash",
    "pause",
    "lost",
    "lands",
    "dies",
    "skip",
    "resend",
    "failover",
    "append",
)
FAULTS = frozenset({CRASH, PAUSE, LOST, SKIP, RESEND, FAILOVER, Step.DRAINING})

# Lines that follow from the moves: they are written for the reader and for a replay, and read over by `parse`.
_DERIVED = ("lease over", "resume")


class Move(NamedTuple):
    """`actor` is a worker (0, 1) or -1 for the world; `detail` says which command, how many records, or what was answered."""

    actor: int
    act: str
    lane: int = -1
    detail: str = ""

    def line(self) -> str:
        """The move as a line of a script."""
        words = [self.act]
        if self.actor >= 0:
            words.insert(0, f"w{self.actor + 1}")
        if self.lane >= 0:
            words.append(f"lane{self.lane}")
        if self.detail:
            words.append(self.detail)
        return " ".join(words)


class Script(NamedTuple):
    """What stands in the topics, and what happens."""

    logs: tuple[tuple[str, ...], ...]
    moves: tuple[Move, ...]

    def text(self) -> str:
        """One line a move. A pause and a crash are followed by the end of the leases; a paused worker resumes at its next move."""
        lines = list(_produced(self.logs))
        paused: set[int] = set()
        for move in self.moves:
            if move.actor in paused and move.act != APPEND:
                lines.append(f"w{move.actor + 1} resume")
                paused.discard(move.actor)
            lines.append(move.line())
            if move.act in (CRASH, PAUSE):
                lines.append(f"lease over w{move.actor + 1}")
            if move.act == PAUSE:
                paused.add(move.actor)
            elif move.act == CRASH:
                paused.discard(move.actor)
        return "\n".join(lines)


def _produced(logs: tuple[tuple[str, ...], ...]) -> Iterable[str]:
    seen: set[str] = set()
    for lane, log in enumerate(logs):
        for record in log:
            known = record.rstrip("'")
            word = "produce" if known not in seen else "duplicate" if record in seen else "alter"
            seen |= {known, record}
            yield f"{word} {record} lane{lane}"


def parse(text: str) -> Script:
    """The script of a text. Raises ValueError naming the line that is none."""
    logs: dict[int, list[str]] = {}
    moves: list[Move] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].strip()
        if not line or line.startswith(_DERIVED[0]) or line.endswith(_DERIVED[1]):
            continue
        words = line.split()
        if words[0] in ("produce", "duplicate", "alter") and len(words) == 3:
            logs.setdefault(_lane(words[2], number), []).append(words[1])
        else:
            moves.append(_move(words, number))
    lanes = max([*logs, *(move.lane for move in moves)], default=0)
    return Script(tuple(tuple(logs.get(lane, ())) for lane in range(lanes + 1)), tuple(moves))


def _move(words: Sequence[str], number: int) -> Move:
    rest = list(words)
    actor = -1
    if rest[0] in ("w1", "w2"):
        actor = int(rest.pop(0)[1]) - 1
    act = rest.pop(0) if rest else ""
    if act not in Step.__members__ and act not in (CRASH, PAUSE, LOST, LANDS, DIES, SKIP, RESEND, FAILOVER, APPEND):
        raise ValueError(f"line {number}: {' '.join(words)!r} is no move")
    lane = _lane(rest.pop(0), number) if rest and rest[0].startswith("lane") else -1
    return Move(actor, act, lane, " ".join(rest))


def _lane(word: str, number: int) -> int:
    if not word.startswith("lane") or not word[4:].isdigit():
        raise ValueError(f"line {number}: {word!r} is no lane")
    return int(word[4:])
