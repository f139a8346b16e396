"""One side of an equation: a set of texts that may have millions of members, in sixteen bytes of memory each."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# 128 bits: among ten million texts the chance of two with one digest is below 10^-24.
_DIGEST = 16

Digests = NDArray[np.void]


class Side:
    """Texts as they come; the set is their digests. The texts wait in a file until they are compared."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` keeps the texts, one a line; without it they are gone with the process."""
        self._file: IO[str] = tempfile.TemporaryFile("w+") if path is None else path.open("w+")  # noqa: SIM115  closed by close()
        self._count = 0
        self._distinct: Digests | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> Side:
        """A side of some texts."""
        side = cls()
        for text in texts:
            side.add(text)
        return side

    @classmethod
    def load(cls, path: Path) -> Side:
        """The side that another process kept at `path`."""
        side = cls()
        side._file.close()
        side._file = path.open("r+")
        side._count = sum(1 for _ in side._file)
        return side

    def add(self, text: str) -> None:
        """One more text, without a line break; it may have come before."""
        self._file.write(text + "\n")
        self._count += 1
        self._distinct = None

    def __len__(self) -> int:
        """Texts that came, copies included."""
        return self._count

    def distinct(self) -> Digests:
        """The set, in order. Made when it is first asked for: who only keeps texts, as a driver under load does, pays for no digests."""
        if self._distinct is None:
            digests = bytearray()
            for text in self._lines():
                digests += _digest(text)
            self._distinct = np.unique(np.frombuffer(bytes(digests), dtype=f"S{_DIGEST}"))
        return self._distinct

    def texts(self, wanted: Digests) -> list[str]:
        """The texts with these digests, in order, each once."""
        if not len(wanted):
            return []
        among = {bytes(digest).ljust(_DIGEST, b"\0") for digest in wanted}
        return sorted({text for text in self._lines() if _digest(text) in among})

    def _lines(self) -> Iterator[str]:
        self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield line.rstrip("\n")
        self._file.seek(0, 2)

    def flush(self) -> None:
        """What is kept stands in the file."""
        self._file.flush()


def compare(left: Side, right: Side) -> tuple[int, list[str], list[str]]:
    """How many texts both have, and those that only one side has."""
    ours, theirs = left.distinct(), right.distinct()
    only_left, only_right = _less(ours, theirs), _less(theirs, ours)
    return len(ours) - len(only_left), left.texts(only_left), right.texts(only_right)


def beyond(left: Side, right: Side) -> list[str]:
    """The texts of the left side that the right one lacks."""
    return left.texts(_less(left.distinct(), right.distinct()))


def _less(ours: Digests, theirs: Digests) -> Digests:
    # Both are sorted and distinct: a place in the other that holds something else means that it is not there.
    places: NDArray[Any] = np.searchsorted(theirs, ours)
    there = np.zeros(len(ours), dtype=bool)
    inside = places < len(theirs)
    there[inside] = theirs[places[inside]] == ours[inside]
    return ours[~there]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST).digest()
