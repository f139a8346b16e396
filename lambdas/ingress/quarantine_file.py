"""Quarantine records in a file, for measuring the edge where the emulator of the table would be what is measured.

A write to DynamoDB Local takes 1.3 to 2.8 ms of the cores that the platform needs, and there are two for a changed payload. The verdicts
are those of `ingress.quarantine_rows`. Settings refuse it on every rung but local_parity.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from ingress.row import Item


class _Line(msgspec.Struct, omit_defaults=True):
    """One change: a record that was put, or the id of one whose anomaly is on the bus."""

    put: Item | None = None
    published: str | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Line)


class QuarantineFile:
    """Records by their quarantine_id, each on its line before anybody is told. One process writes; what stood in the file counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, Item] = {}
        self._file = -1

    async def start(self) -> None:
        """Reads what stands in the file, and makes it where there is none."""
        self._records = records_of(self._path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def stop(self) -> None:
        """No more records."""
        os.close(self._file)

    async def put_new(self, item: Item) -> Item | None:
        """As QuarantineRows says."""
        name = item["quarantine_id"]["S"]
        if name in self._records:
            return self._records[name]
        self._write(_Line(put=item))
        self._records[name] = item
        return None

    async def pending(self) -> AsyncIterator[Item]:
        """As QuarantineRows says."""
        for item in list(self._records.values()):
            if "anomaly_pending" in item:
                yield item

    async def mark_published(self, quarantine: str) -> None:
        """As QuarantineRows says."""
        if quarantine in self._records:
            self._write(_Line(published=quarantine))
            _publish(self._records[quarantine])

    def _write(self, line: _Line) -> None:
        os.write(self._file, _ENCODER.encode(line) + b"\n")


def records_of(path: Path) -> dict[str, Item]:
    """{quarantine_id: record} of a file; none where there is no file yet."""
    records: dict[str, Item] = {}
    for line in map(_DECODER.decode, path.read_bytes().splitlines() if path.exists() else ()):
        if line.put is not None:
            records[line.put["quarantine_id"]["S"]] = line.put
        elif line.published is not None:
            _publish(records[line.published])
    return records


def _publish(item: Item) -> None:
    item["anomaly_published"] = {"BOOL": True}
    item.pop("anomaly_pending", None)
