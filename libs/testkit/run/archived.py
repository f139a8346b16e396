"""What the edge's archive holds: receipts and quarantine records, as the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from testkit.run.answers import identity_text
from testkit.run.sides import Side


class _Receipt(msgspec.Struct):
    platform_run_id: str
    event_class: str
    event_id: str


_DECODER = msgspec.json.Decoder(_Receipt)


@dataclass
class Archived:
    """Both sides of what was archived; a receipt that stands twice counts twice."""

    receipts: Side = field(default_factory=Side)
    """Identities."""
    refusals: set[str] = field(default_factory=set)
    """Quarantine ids."""


def read_archive(folder: Path) -> Archived:
    """Everything in the folder of one run."""
    found = Archived()
    for receipt in _receipts(folder):
        found.receipts.add(identity_text(receipt.platform_run_id, receipt.event_class, receipt.event_id))
    found.refusals = {path.stem for path in folder.glob("*/quarantine/*/index/*.json")}
    return found


def _receipts(folder: Path) -> Iterator[_Receipt]:
    for path in folder.glob("*/receipts/*/*/*.jsonl"):
        for line in path.read_bytes().splitlines():
            yield _DECODER.decode(line)
