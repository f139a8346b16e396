"""Receipts and quarantine records in S3, written from the rows behind the hot path, each once (domain.md 2.11, 2.12; lesson L5).

A receipt is a line of an object that holds those of one batch: an object a receipt would cost more than the event. What stands under a
key is never written over, and keys follow from contents, so a batch that comes again finds what it wrote.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from ingress.aws_json import ServiceError
from ingress.dynamodb import DynamoDB
from ingress.logs import log
from ingress.objects import Objects
from ingress.receipt import Decision, receipt_of
from ingress.row import AdmissionRow, Item, State, from_item, text

UNKNOWN_RUN = "unknown"
"""Where a refusal goes whose run nobody could read."""

_LINE = msgspec.json.Encoder(order="sorted").encode
FLAG = "receipt_write_failed"
"""Stands on a row whose receipt could not be written, until it is (domain.md 2.9)."""


class Archive:
    """Writes to one bucket. Methods raise ServiceError where an object could not be written."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def receipts(self, rows: Sequence[AdmissionRow]) -> list[str]:
        """The receipts of admitted rows; the keys of the objects, one a run and class."""
        lines: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row.dedupe_key):
            lines[row.platform_run_id, row.event_class].append(_LINE(receipt_of(row, Decision.ADMIT)))
        keys = []
        for (run, event_class), receipts in lines.items():
            body = b"\n".join(receipts) + b"\n"
            key = f"receipts/{run}/{event_class}/{hashlib.sha256(body).hexdigest()}.jsonl"
            await self._objects.put_once(key, body, "application/x-ndjson")
            keys.append(key)
        return keys

    async def refusal(self, item: Item) -> str:
        """A quarantine record, its payload apart; the key of the record."""
        name = item["quarantine_id"]["S"]
        run = item.get("platform_run_id", {}).get("S", "")
        # What a producer called its run goes into a key only where it is one.
        folder = f"quarantine/{run if run.startswith('platform_') and run.isascii() and run.replace('_', '').isalnum() else UNKNOWN_RUN}"
        record, refs = {}, []
        for field, attribute in item.items():
            [(kind, value)] = attribute.items()
            if kind == "B":  # a payload, or bytes that nobody could read
                ref = f"{folder}/payloads/{name}.{field}"
                await self._objects.put_once(ref, base64.b64decode(value), "application/octet-stream")
                refs.append({"kind": field, "ref": self._objects.uri(ref)})
            elif field not in _WORKING:
                record[field] = [entry["S"] for entry in value] if kind == "L" else value
        key = f"{folder}/index/{name}.json"
        await self._objects.put_once(key, _LINE({**record, "evidence_refs": refs}))
        return key


# What changes after the record was made is not the record's.
_WORKING = frozenset({"anomaly_published", "anomaly_pending"})


class StreamArchive:
    """What the streams of the two tables bring (Lambda's DynamoDB event source)."""

    def __init__(self, archive: Archive, store: DynamoDB, table: str) -> None:
        self._archive = archive
        self._store = store
        self._table = table

    async def take(self, records: Sequence[dict[str, Any]]) -> list[str]:
        """Archives what is final; the sequence numbers from which the source has to come again (a partial batch answer).

        A row whose receipt could not be written is flagged, so that the back-fill finds it whatever becomes of the stream.
        """
        admitted: list[AdmissionRow] = []
        again: list[str] = []
        for record in records:
            image = record["dynamodb"].get("NewImage")
            if image is None:
                continue  # a row whose time is over
            if "dedupe_key" in image:
                if image["state"]["S"] == State.ADMITTED and FLAG not in image:
                    admitted.append(from_item(image))
            elif record["eventName"] == "INSERT" and not again:
                try:
                    await self._archive.refusal(image)
                except ServiceError as error:
                    log.warning("refusal_not_archived", cause=str(error))
                    again.append(record["dynamodb"]["SequenceNumber"])
        try:
            await self._archive.receipts(admitted)
        except ServiceError as error:
            log.warning("receipts_not_archived", rows=len(admitted), cause=str(error))
            for row in admitted:
                await self._flag(row)
        return again

    async def backfill(self) -> int:
        """Writes the receipts of flagged rows and takes the flags away; how many. Raises ServiceError where that fails."""
        request: dict[str, Any] = {"TableName": self._table, "FilterExpression": f"attribute_exists({FLAG})"}
        written = 0
        while True:
            page = await self._store.call("Scan", request)
            rows = [from_item(item) for item in page["Items"]]
            await self._archive.receipts(rows)
            for row in rows:
                await self._update(row, f"REMOVE {FLAG}", {})
            written += len(rows)
            if "LastEvaluatedKey" not in page:
                return written
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def _flag(self, row: AdmissionRow) -> None:
        await self._update(row, f"SET {FLAG} = :yes", {":yes": {"BOOL": True}})

    async def _update(self, row: AdmissionRow, expression: str, values: dict[str, Any]) -> None:
        request = {
            "TableName": self._table,
            "Key": {"dedupe_key": text(row.dedupe_key)},
            "UpdateExpression": expression,
            "ConditionExpression": "attribute_exists(dedupe_key)",
            **({"ExpressionAttributeValues": values} if values else {}),
        }
        await self._store.call("UpdateItem", request)
