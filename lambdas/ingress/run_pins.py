"""The pins of the active run, for what the edge says of itself: it is told the run alone, and reads the others off what it has seen."""

from typing import Any

import msgspec

from ingress.dynamodb import DynamoDB
from ingress.inspection import Known
from ingress.row import from_item, text
from laws.fields import Hex32, Hex64, PlatformRunId

# A page of a scan reads 1 MB, which is a thousand rows: 128 read units, and only while a spike waits.
_PAGE = 1000


class Pins(msgspec.Struct, frozen=True):
    """Whose event it is."""

    platform_run_id: PlatformRunId
    scenario_run_id: Hex32
    manifest_fingerprint: Hex64


class RunPins:
    """Looks for the pins of one run. Those of a foreign run are never taken: its events would be parked by everybody who reads them."""

    def __init__(self, store: DynamoDB, table: str, active_run: str) -> None:
        self._store = store
        self._table = table
        self._active_run = active_run
        self._next: dict[str, Any] | None = None

    def of(self, known: Known) -> Pins | None:
        """The pins of a refused item; None where it is of another run, or has none that look like pins."""
        try:
            pins = msgspec.convert({name: known.text(name) for name in Pins.__struct_fields__}, Pins)
        except msgspec.ValidationError:
            return None
        return pins if pins.platform_run_id == self._active_run else None

    async def of_a_row(self) -> Pins | None:
        """The pins of an admission row of the run. One page a call: None where that had none. Raises StoreError."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "Limit": _PAGE,
            "FilterExpression": "platform_run_id = :run",
            "ExpressionAttributeValues": {":run": text(self._active_run)},
        }
        if self._next is not None:
            request["ExclusiveStartKey"] = self._next
        page = await self._store.call("Scan", request)
        self._next = page.get("LastEvaluatedKey")
        if not page["Items"]:
            return None
        row = from_item(page["Items"][0])
        return Pins(row.platform_run_id, row.scenario_run_id.hex(), row.manifest_fingerprint.hex())
