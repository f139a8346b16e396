"""The admission rows in DynamoDB. Every write is conditional; a lost condition says what stands there instead (domain.md 2.8)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from msgspec.structs import replace

from ingress.dynamodb import STATEMENTS, ConditionFailedError, DynamoDB, Outcome, StoreError, done
from ingress.row import UNSETTLED, AdmissionRow, Item, Settlement, State, binary, from_item, number, text, to_item
from ingress.spread import spread
from ingress.statements import insert, settle

# Requests of many writes that are under way at once. More would wait in the store's queue instead of here, where no timeout runs.
_REQUESTS = 4

Written = TypeVar("Written")
Said = TypeVar("Said")


class AdmissionTable(Protocol):
    """What admission asks of its rows.

    Where the store can't be asked nobody knows whether it wrote: methods for many rows answer StoreError for each such row, the others
    raise it.
    """

    async def claim(self, rows: Sequence[AdmissionRow]) -> list[AdmissionRow | StoreError]:
        """Puts each row whose identity is new. The row itself if it stands now; else the one that stood there first."""
        ...

    async def admit(self, settlements: Sequence[Settlement]) -> list[AdmissionRow | StoreError | None]:
        """Settles rows that the caller holds: the commit point of an admission (domain.md 2.7).

        Each admitted row; or None if the caller does not hold it any more and `standing` has to be asked.
        """
        ...

    async def mark_ambiguous(self, row: AdmissionRow) -> None:
        """Notes that nobody knows whether the event was appended. Nothing happens if the caller does not hold the row any more."""
        ...

    async def take_over(self, row: AdmissionRow, owner: bytes, until_ms: int) -> AdmissionRow | None:
        """Makes the caller the holder of a row whose lease is over; None if somebody else was faster."""
        ...

    async def note_second_copy(self, row: AdmissionRow, offset: int) -> None:
        """Keeps the offset of a copy that was appended by a holder who had lost the row meanwhile."""
        ...

    async def release(self, row: AdmissionRow, low_water: int) -> bool:
        """Frees a row whose event no search found below `low_water`; False if it is not as the caller saw it any more."""
        ...

    async def advance(self, row: AdmissionRow, low_water: int) -> None:
        """Notes how far a search came that did not end: the next one goes on from there."""
        ...

    def unsettled(self, before_ms: int) -> AsyncIterator[AdmissionRow]:
        """The rows whose leases were over `before_ms` and that nobody has settled, as far as an eventual read sees them."""
        ...

    async def standing(self, dedupe_key: str) -> AdmissionRow | None:
        """The row as it stands, strongly consistent. Only the rare ways ask for it; an admission never reads."""
        ...


class AdmissionStore:
    """AdmissionTable in DynamoDB.

    Its one conditional write of many rows is a transaction, which costs twice as much and fails rows for their neighbours' sake. Rows of
    an array go as statements instead, many to a request: each has its own condition, and is done or not by itself.
    """

    def __init__(self, store: DynamoDB, table: str, width: int) -> None:
        self._store = store
        self._table = table
        self._width = width
        self._requests = asyncio.Semaphore(_REQUESTS)

    async def claim(self, rows: Sequence[AdmissionRow]) -> list[AdmissionRow | StoreError]:
        """One conditional put a row."""
        return await self._write("PutItem", insert, self._claim, rows)

    async def admit(self, settlements: Sequence[Settlement]) -> list[AdmissionRow | StoreError | None]:
        """One conditional update a row."""
        return await self._write("UpdateItem", settle, self._admit, settlements)

    async def _write(
        self,
        operation: str,
        statement: Callable[[str, Written], dict[str, Any]],
        finish: Callable[[Written, Outcome], Awaitable[Said]],
        writes: Sequence[Written],
    ) -> list[Said]:
        """What `finish` says of each write and of its statement's outcome. A write that is alone costs less without a statement."""

        async def some(part: Sequence[Written]) -> list[Outcome]:
            async with self._requests:
                return await self._store.each(operation, [statement(self._table, write) for write in part])

        if len(writes) == 1:
            return [await finish(writes[0], False)]
        parts = [writes[start : start + STATEMENTS] for start in range(0, len(writes), STATEMENTS)]
        outcomes = [outcome for part in await spread(some, parts, _REQUESTS) for outcome in part]
        return await spread(lambda each: finish(*each), list(zip(writes, outcomes, strict=True)), self._width)

    async def _claim(self, row: AdmissionRow, outcome: Outcome) -> AdmissionRow | StoreError:
        try:
            if not done(outcome):
                await self._store.call("PutItem", self._put(row))
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            if standing is None:
                return StoreError("PutItem: the store refused the condition and did not say what stands there")
            # A put that was done although its answer got lost meets itself when it is repeated.
            return row if standing.lease_owner == row.lease_owner else standing
        except StoreError as error:
            return error
        return row

    def _put(self, row: AdmissionRow) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Item": to_item(row),
            "ConditionExpression": "attribute_not_exists(dedupe_key)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    async def _admit(self, settlement: Settlement, outcome: Outcome) -> AdmissionRow | StoreError | None:
        try:
            if not done(outcome):
                await self._store.call("UpdateItem", self._settlement(settlement))
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            # As above: an update whose answer got lost meets what it wrote.
            return standing if standing is not None and standing.offset == settlement.offset else None
        except StoreError as error:
            return error
        return settlement.settled()

    def _settlement(self, settlement: Settlement) -> dict[str, Any]:
        row = settlement.row
        return self._update(
            row,
            "SET #state = :state, eb_offset = :offset, eb_published_at_ms = :published, admitted_at_ms = :admitted, "
            "eb_cluster_id = :cluster, eb_topic_id = :topic REMOVE lease_owner, lease_until_ms, attempt, low_water",
            {
                ":state": text(State.ADMITTED),
                ":cluster": text(row.cluster_id),
                ":topic": binary(row.topic_id),
                ":offset": number(settlement.offset),
                ":published": number(settlement.published_at_ms),
                ":admitted": number(settlement.admitted_at_ms),
            },
        )

    async def mark_ambiguous(self, row: AdmissionRow) -> None:
        """As the protocol says."""
        request = self._update(row, "SET #state = :state", {":state": text(State.PUBLISH_AMBIGUOUS)})
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError:
            return  # whoever took it over knows more than we do

    async def take_over(self, row: AdmissionRow, owner: bytes, until_ms: int) -> AdmissionRow | None:
        """As the protocol says."""
        assert row.attempt is not None
        taken = replace(row, state=State.PUBLISH_IN_FLIGHT, attempt=row.attempt + 1, lease_owner=owner, lease_until_ms=until_ms)
        request = self._update(
            row,
            "SET #state = :state, attempt = :next, lease_owner = :owner, lease_until_ms = :until",
            {
                ":state": text(State.PUBLISH_IN_FLIGHT),
                ":next": number(row.attempt + 1),
                ":owner": binary(owner),
                ":until": number(until_ms),
            },
        )
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            return taken if standing is not None and standing.lease_owner == owner else None
        return taken

    async def note_second_copy(self, row: AdmissionRow, offset: int) -> None:
        """As the protocol says."""
        request = {
            "TableName": self._table,
            "Key": {"dedupe_key": text(row.dedupe_key)},
            "UpdateExpression": "ADD second_copies :offset",
            "ConditionExpression": "attribute_exists(dedupe_key)",
            "ExpressionAttributeValues": {":offset": {"NS": [str(offset)]}},
        }
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError:
            return  # the row's time is over: with it ends what it can say

    async def release(self, row: AdmissionRow, low_water: int) -> bool:
        """As the protocol says."""
        request = self._update(
            row,
            "SET #state = :state, low_water = :low REMOVE lease_owner, lease_until_ms",
            {":state": text(State.RELEASED), ":low": number(low_water)},
        )
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            # An update whose answer got lost meets what it wrote.
            return standing is not None and standing.state is State.RELEASED and standing.attempt == row.attempt
        return True

    async def advance(self, row: AdmissionRow, low_water: int) -> None:
        """As the protocol says."""
        request = self._update(row, "SET low_water = :low", {":low": number(low_water)})
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError:
            return  # it is settled, or somebody else's

    async def unsettled(self, before_ms: int) -> AsyncIterator[AdmissionRow]:
        """A scan: an index would be written twice more for every event, for the few that are left behind (docs/decisions, edge)."""
        states = {f":state{index}": text(state) for index, state in enumerate(UNSETTLED)}
        request: dict[str, Any] = {
            "TableName": self._table,
            "FilterExpression": f"#state IN ({', '.join(states)}) AND lease_until_ms < :before",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": states | {":before": number(before_ms)},
        }
        while True:
            page = await self._store.call("Scan", request)
            for item in page["Items"]:
                yield from_item(item)
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def standing(self, dedupe_key: str) -> AdmissionRow | None:
        """A consistent read."""
        request = {"TableName": self._table, "Key": {"dedupe_key": text(dedupe_key)}, "ConsistentRead": True}
        return _row((await self._store.call("GetItem", request)).get("Item"))

    def _update(self, row: AdmissionRow, expression: str, values: dict[str, Any]) -> dict[str, Any]:
        """An update on condition that the row is held as the caller saw it: by the same holder, or by nobody since the same attempt."""
        if row.lease_owner is not None:
            fence, seen = "lease_owner = :seen", binary(row.lease_owner)
        else:
            assert row.attempt is not None  # a row that is settled is not written any more
            fence, seen = "attribute_not_exists(lease_owner) AND attempt = :seen", number(row.attempt)
        return {
            "TableName": self._table,
            "Key": {"dedupe_key": text(row.dedupe_key)},
            "UpdateExpression": expression,
            "ConditionExpression": fence,
            "ExpressionAttributeValues": values | {":seen": seen},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        } | ({"ExpressionAttributeNames": {"#state": "state"}} if "#state" in expression else {})


def _row(item: Item | None) -> AdmissionRow | None:
    return None if item is None else from_item(item)
