"""The schema policy and the schemas as files, which a registry in the cloud is filled from: `python -m ingress.schema_files` writes them.

One file an event type and version. A file is what was released: a contract that changes additively renews it, one that breaks it needs a
version of its own (ingress.compatibility; a test holds both).
"""

import json
import sys
from typing import Any

import msgspec

from ingress.openapi import document
from ingress.policy import DOORS, LEAK_PREFIXES, WRITER, policy_digest
from ingress.released import FOLDER, versions_of
from ingress.settings import POLICY_REV
from laws.catalogue import EVENT_TYPES, EventType
from laws.contracts.world import LEAK_FIELDS


def files() -> dict[str, str]:
    """The content of every file by its name below FOLDER."""
    named = {f"{each.name}/{version}.json": _schema(each) for each in EVENT_TYPES.values() for version in versions_of(each)}
    named |= {"policy.json": policy(), "openapi.json": document()}
    return {name: json.dumps(_portable(content), indent=2, sort_keys=True) + "\n" for name, content in named.items()}


def policy() -> dict[str, Any]:
    """The written policy: what comes in at the edge, and what never does."""
    return {
        "policy_rev": POLICY_REV,
        "content_digest": policy_digest(),
        "default_action": "quarantine",
        "leak_columns": {
            "columns": sorted(LEAK_FIELDS),
            "prefixes": list(LEAK_PREFIXES),
            "action": "refuse",
            "reason": "truth and future-derived columns may not enter a live lane; a producer strips them at the source",
        },
        "types": {event_type.name: _entry(event_type) for event_type in EVENT_TYPES.values()},
    }


def _entry(event_type: EventType) -> dict[str, Any]:
    door = event_type.name in DOORS
    return {
        "class": event_type.event_class.value,
        "admitted_by": WRITER if door else "a writer of its own",
        "schema_version_required": bool(event_type.schema_versions),
        "allowed_schema_versions": list(event_type.schema_versions),
        "payload_schema_refs": [f"{event_type.name}/{version}.json" for version in versions_of(event_type)],
        "required_pins": list(event_type.required_pins),
    }


def _portable(content: Any) -> Any:
    """Patterns as ECMA-262 has them: it knows no `\\Z`, and its `$` is the end of the text and nothing else."""
    if isinstance(content, dict):
        return {
            name: value.removesuffix("\\Z") + "$"
            if name == "pattern" and isinstance(value, str) and value.endswith("\\Z")
            else _portable(value)
            for name, value in content.items()
        }
    return [_portable(item) for item in content] if isinstance(content, list) else content


def _schema(event_type: EventType) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(event_type.contract)}


def main() -> None:
    """Writes every file; says which changed."""
    for name, content in files().items():
        path = FOLDER / name
        if path.exists() and path.read_text() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
