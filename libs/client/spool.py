"""Events on disk until the edge has answered them: what `append` returned for survives kill -9, and with fsync a power cut.

A folder of segments, each a sequence of (length, crc, event). Beside them `done`, how far everything is answered. That mark may be lost:
what it covered is sent again, and is a duplicate there.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_FRAME = struct.Struct(">II")
# A segment is removed when it is answered whole: disk is given back in steps of this.
SEGMENT_BYTES = 16 * 1024 * 1024
_SUFFIX = ".events"


class SpoolError(Exception):
    """The folder can't be used: another process has it, or what stands there is no spool."""


class Place(NamedTuple):
    """Where an event ends in the spool; ordered."""

    segment: int
    offset: int


class Spool:
    """One folder, one process. Not for use by several tasks at once."""

    def __init__(self, folder: Path, *, fsync: bool = True, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SpoolError(f"{folder} is in use: two processes would send each other's events") from None
        self._done = self._read_done()
        numbers = self._numbers()
        self._segment = numbers[-1] if numbers else self._done.segment
        self._file = os.open(self._path(self._segment), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = self._mend()

    @property
    def end(self) -> Place:
        """Behind the last event."""
        return Place(self._segment, self._size)

    @property
    def done(self) -> Place:
        """Everything before it is answered."""
        return self._done

    def append(self, events: Sequence[bytes]) -> list[Place]:
        """Keeps the events, and says where each ends. When it returns they are durable. Raises OSError where the disk is full."""
        if self._size >= self._segment_bytes:
            self._roll()
        frames, places, size = [], [], self._size
        for event in events:
            frames.append(_FRAME.pack(len(event), zlib.crc32(event)) + event)
            size += len(frames[-1])
            places.append(Place(self._segment, size))
        data = b"".join(frames)
        try:
            self._write(data)
        except OSError:
            os.ftruncate(self._file, self._size)  # half of it must not stand before what comes next
            raise
        self._size = size
        return places

    def events(self, after: Place) -> Iterator[tuple[Place, bytes]]:
        """What stands behind `after`, oldest first, up to the end as it is when it is reached."""
        for number in self._numbers():
            if number < after.segment:
                continue
            start = after.offset if number == after.segment else 0
            with self._path(number).open("rb") as segment:
                segment.seek(start)
                while (event := _next(segment.read(_FRAME.size), segment.read)) is not None:
                    start += _FRAME.size + len(event)
                    yield Place(number, start), event

    def answered(self, place: Place) -> None:
        """Everything up to `place` is answered. Segments that are, whole, are removed."""
        self._done = place
        temporary = self._folder / "done.new"
        temporary.write_text(f"{place.segment} {place.offset}")
        temporary.replace(self._folder / "done")
        for number in self._numbers():
            if number < place.segment:
                self._path(number).unlink()

    def close(self) -> None:
        """Lets the folder go."""
        os.close(self._file)
        os.close(self._lock)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        if self._fsync:
            os.fdatasync(self._file)

    def _roll(self) -> None:
        os.close(self._file)
        self._segment += 1
        self._file = os.open(self._path(self._segment), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = 0

    def _mend(self) -> int:
        """Cuts off what a death in the middle of a write left: `append` had not returned for it."""
        size = 0
        with self._path(self._segment).open("rb") as segment:
            while (event := _next(segment.read(_FRAME.size), segment.read)) is not None:
                size += _FRAME.size + len(event)
        os.ftruncate(self._file, size)
        return size

    def _read_done(self) -> Place:
        try:
            segment, offset = (self._folder / "done").read_text().split()
            return Place(int(segment), int(offset))
        except (FileNotFoundError, ValueError):
            return Place(0, 0)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob(f"*{_SUFFIX}"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:09}{_SUFFIX}"


def _next(head: bytes, read: Callable[[int], bytes]) -> bytes | None:
    if len(head) < _FRAME.size:
        return None
    length, crc = _FRAME.unpack(head)
    event = read(length)
    return event if len(event) == length and zlib.crc32(event) == crc else None
