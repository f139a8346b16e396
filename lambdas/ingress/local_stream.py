"""What the two tables' streams bring to the archive in the cloud, made of the rows themselves where no stream is.

DynamoDB Local has streams, which make its writes dearer on the machine that is shared with everything else: so the rows are looked through
now and then instead, and those that changed since go out in the words of a stream.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ingress.archive import FLAG
from ingress.dynamodb import DynamoDB
from ingress.row import Item, State, number, text
from laws.times import format_instant

Take = Callable[[list[dict[str, Any]]], Awaitable[Sequence[str]]]
"""Archives records of a stream; the sequence numbers of those that have to come again."""
Backfill = Callable[[], Awaitable[object]]

# An invocation takes 6 MB: so many rows are half a megabyte, and so many refusals of the largest kind 5 MB.
_ROWS = 500
_REFUSALS = 25
# Between what a row says of its time and the moment in which it can be seen lie a publish and the retries of a write.
_MARGIN_S = 60.0


class _Brought(NamedTuple):
    """What one look through a table brought, and what has to come again."""

    brought: int
    left: int


class LocalStream:
    """Knows what it has brought. One at a time looks.

    `mark` is a file that keeps how far it came. A new one goes on there, and brings once more what was admitted in the last minute before
    it, or without a mark everything that stands: a receipt that comes again has the id that it had.
    """

    def __init__(
        self,
        store: DynamoDB,
        rows: str,
        refusals: str,
        take: Take,
        backfill: Backfill,
        *,
        mark: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._rows = rows
        self._refusals = refusals
        self._take = take
        self._backfill = backfill
        self._now = now
        self._mark = mark
        self._since = _read(mark)
        self._brought: dict[str, float] = {}
        """Keys that were brought, and when, for as long as a round may see them again."""

    async def round(self) -> int:
        """Brings what is new since the last round; how much. Raises StoreError, and what the archive raises: the next round makes up."""
        began = self._now()
        since = max(0.0, self._since - _MARGIN_S)
        rows = await self._bring("dedupe_key", self._admitted(since), _ROWS)
        refusals = await self._bring("quarantine_id", self._refused(since), _REFUSALS)
        if not rows.left and not refusals.left:
            self._since = began
            _write(self._mark, began)
        self._brought = {key: at for key, at in self._brought.items() if at >= self._since - _MARGIN_S}
        return rows.brought + refusals.brought

    async def _bring(self, key: str, request: dict[str, Any], size: int) -> _Brought:
        flagged, brought, left = False, 0, 0
        while True:
            page = await self._store.call("Scan", request)
            fresh = [item for item in page["Items"] if item[key]["S"] not in self._brought]
            flagged = flagged or any(FLAG in item for item in page["Items"])
            for start in range(0, len(fresh), size):
                some = fresh[start : start + size]
                done = await self._archive(key, some)
                brought, left = brought + done, left + len(some) - done
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        if flagged:
            await self._backfill()
        return _Brought(brought, left)

    async def _archive(self, key: str, items: Sequence[Item]) -> int:
        again = await self._take(list(_records(items)))
        # As of a stream: from the first that failed on everything comes again.
        done = items[: min(map(int, again), default=len(items))]
        self._brought |= {item[key]["S"]: self._now() for item in done}
        return len(done)

    def _admitted(self, since: float) -> dict[str, Any]:
        return {
            "TableName": self._rows,
            "FilterExpression": f"#state = :admitted AND (admitted_at_ms >= :since OR attribute_exists({FLAG}))",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": {":admitted": text(State.ADMITTED), ":since": number(int(since * 1000))},
        }

    def _refused(self, since: float) -> dict[str, Any]:
        return {
            "TableName": self._refusals,
            "FilterExpression": "received_at_utc >= :since",
            "ExpressionAttributeValues": {":since": text(format_instant(datetime.fromtimestamp(since, UTC)))},
        }


def _read(mark: Path | None) -> float:
    try:
        return 0.0 if mark is None else float(mark.read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def _write(mark: Path | None, since: float) -> None:
    if mark is not None:
        fresh = mark.with_suffix(".new")
        fresh.write_text(str(since))
        fresh.replace(mark)


def _records(items: Iterable[Item]) -> Iterable[dict[str, Any]]:
    for index, item in enumerate(items):
        yield {"eventName": "INSERT", "dynamodb": {"SequenceNumber": str(index), "NewImage": item}}
