"""The provider's memory: an append-only file of JSON lines, made durable in groups, replayed on start."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec


class AttemptLine(msgspec.Struct, frozen=True, tag="attempt"):
    """A submit arrived: it counts, and the first one binds the key to its body."""

    key: str
    body_digest: str


class OutcomeLine(msgspec.Struct, frozen=True, tag="outcome"):
    """What became of a key, for ever. code is the provider's code of a refusal; http_status is that of the first answer."""

    key: str
    status: Literal["EXECUTED", "REFUSED"]
    http_status: int
    action_kind: str
    provider_ref: str
    completed_at: str
    code: str | None = None


Line = AttemptLine | OutcomeLine
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class JournalDamagedError(Exception):
    """A line before the last one can't be read: the file was not written by this journal alone."""


def replay(path: Path) -> list[Line]:
    """All whole lines of a journal. An unfinished last line, left by a kill, is cut off the file.

    Raises JournalDamagedError if a whole line can't be read.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    try:
        return [_decoder.decode(line) for line in data[:whole].splitlines()]
    except msgspec.DecodeError as error:
        raise JournalDamagedError(str(error)) from error


class Journal:
    """Appends lines. Lines that wait while the disk works are made durable together.

    Once the disk has refused, the end of the file is unknown: the journal takes no further line until it is replayed.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._waiting: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._writer: asyncio.Task[None] | None = None
        self.failure: OSError | None = None
        """Why the journal takes no more lines."""

    def note(self, line: Line) -> None:
        """Appends a line without waiting; it becomes durable with or before the next append()."""
        self._enqueue((line,), None)

    def append(self, *lines: Line) -> asyncio.Future[None]:
        """Appends lines, in order, at once: what was noted just before goes to the disk with them.

        Done once they are on the disk. Raises OSError if the disk refuses or has refused.
        """
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(lines, durable)
        return durable

    async def close(self) -> None:
        """Writes what waits and closes the file."""
        while self._writer is not None:
            await asyncio.wait([self._writer])
        self._file.close()

    def _enqueue(self, lines: Sequence[Line], durable: asyncio.Future[None] | None) -> None:
        self._waiting.append((_encoder.encode_lines(lines), durable))
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                try:
                    if self.failure is None:
                        await asyncio.to_thread(self._sync, b"".join([lines for lines, _ in group]))
                except OSError as error:
                    self.failure = error
                for _, durable in group:
                    if durable is None or durable.done():
                        continue
                    if self.failure is None:
                        durable.set_result(None)
                    else:
                        durable.set_exception(self.failure)
        finally:
            self._writer = None

    def _sync(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        os.fsync(self._file.fileno())
