"""The two writes of an admission as statements of PartiQL, of which one request carries many.

They say what `ingress.admission_store` says of one row in DynamoDB's own words: a put if nothing stands there, an update if the caller
holds the row. An INSERT is refused where its key stands.
"""

from functools import lru_cache
from typing import Any

from ingress.row import AdmissionRow, Settlement, State, binary, number, text, to_item

# A release writes rows of a few shapes: with a trace and without.
_SHAPES = 64


def insert(table: str, row: AdmissionRow) -> dict[str, Any]:
    """A put on condition that the identity is new."""
    item = to_item(row)
    return _statement(_insert(table, tuple(item)), list(item.values()))


def settle(table: str, settlement: Settlement) -> dict[str, Any]:
    """The update that admits, on condition that the caller holds the row."""
    row = settlement.row
    assert row.lease_owner is not None  # a row that is published has a holder
    parameters = [
        text(State.ADMITTED),
        number(settlement.offset),
        number(settlement.published_at_ms),
        number(settlement.admitted_at_ms),
        text(row.cluster_id),
        binary(row.topic_id),
        text(row.dedupe_key),
        binary(row.lease_owner),
    ]
    return _statement(_settle(table), parameters)


def _statement(words: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Statement": words, "Parameters": parameters, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


@lru_cache(maxsize=_SHAPES)
def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"""INSERT INTO "{table}" VALUE {{{", ".join(f"'{name}': ?" for name in columns)}}}"""


@lru_cache(maxsize=_SHAPES)
def _settle(table: str) -> str:
    settled = ('"state"', "eb_offset", "eb_published_at_ms", "admitted_at_ms", "eb_cluster_id", "eb_topic_id")
    over = ("lease_owner", "lease_until_ms", "attempt", "low_water")
    changes = [*(f"SET {name} = ?" for name in settled), *(f"REMOVE {name}" for name in over)]
    return f'UPDATE "{table}" {" ".join(changes)} WHERE dedupe_key = ? AND lease_owner = ?'
