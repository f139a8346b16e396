"""The released schemas as they stand beside the code: one file an event type and version (ingress.schema_files writes them)."""

import json
from pathlib import Path
from typing import Any

from laws.catalogue import EventType

FOLDER = Path(__file__).parent / "schemas"
UNVERSIONED = "v0"
"""The file of engine outputs, which carry no schema_version (domain.md 2.13)."""


def versions_of(event_type: EventType) -> tuple[str, ...]:
    """The names of a type's files."""
    return event_type.schema_versions or (UNVERSIONED,)


def released(event_type: str, version: str) -> dict[str, Any]:
    """A released schema. Raises FileNotFoundError where there is none."""
    schema: dict[str, Any] = json.loads((FOLDER / event_type / f"{version}.json").read_text())
    return schema
