"""The admission rows in DynamoDB. Every write is conditional; a lost condition says what stands there instead (domain.md 2.8)."""

from typing import Any

from ingress.dynamodb import ConditionFailedError, DynamoDB, StoreError
from ingress.row import AdmissionRow, Item, State, binary, from_item, number, text, to_item


class AdmissionStore:
    """All methods raise ingress.dynamodb.StoreError where the store can't be asked; then nobody knows whether they wrote."""

    def __init__(self, store: DynamoDB, table: str) -> None:
        self._store = store
        self._table = table

    async def claim(self, row: AdmissionRow) -> AdmissionRow:
        """Puts `row` if its identity is new. `row` itself if it stands now; else the one that stood there first."""
        request = {
            "TableName": self._table,
            "Item": to_item(row),
            "ConditionExpression": "attribute_not_exists(dedupe_key)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await self._store.call("PutItem", request)
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            if standing is None:
                raise StoreError("PutItem: the store refused the condition and did not say what stands there") from lost
            # A put that was done although its answer got lost meets itself when it is repeated.
            return row if standing.lease_owner == row.lease_owner else standing
        return row

    async def admit(self, row: AdmissionRow, offset: int, published_at_ms: int, admitted_at_ms: int) -> AdmissionRow | None:
        """Settles `row`, which the caller holds: the commit point of an admission (domain.md 2.7).

        The admitted row; or None if the caller does not hold it any more and `standing` has to be asked.
        """
        settled = row._replace(
            state=State.ADMITTED,
            offset=offset,
            published_at_ms=published_at_ms,
            admitted_at_ms=admitted_at_ms,
            lease_owner=None,
            lease_until_ms=None,
            attempt=None,
            low_water=None,
        )
        request = self._update(
            row,
            "SET #state = :state, eb_offset = :offset, eb_published_at_ms = :published, admitted_at_ms = :admitted, "
            "eb_cluster_id = :cluster, eb_topic_id = :topic REMOVE lease_owner, lease_until_ms, attempt, low_water",
            {
                ":state": text(State.ADMITTED),
                ":cluster": text(row.cluster_id),
                ":topic": binary(row.topic_id),
                ":offset": number(offset),
                ":published": number(published_at_ms),
                ":admitted": number(admitted_at_ms),
            },
        )
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            # As above: an update whose answer got lost meets what it wrote.
            return standing if standing is not None and standing.offset == offset else None
        return settled

    async def mark_ambiguous(self, row: AdmissionRow) -> None:
        """Notes that nobody knows whether the event was appended. Nothing happens if the caller does not hold the row any more."""
        request = self._update(row, "SET #state = :state", {":state": text(State.PUBLISH_AMBIGUOUS)})
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError:
            return  # whoever took it over knows more than we do

    async def take_over(self, row: AdmissionRow, owner: bytes, until_ms: int) -> AdmissionRow | None:
        """Makes the caller the holder of a row whose lease is over; None if somebody else was faster."""
        assert row.attempt is not None
        taken = row._replace(state=State.PUBLISH_IN_FLIGHT, attempt=row.attempt + 1, lease_owner=owner, lease_until_ms=until_ms)
        request = self._update(
            row,
            "SET #state = :state, attempt = :next, lease_owner = :owner, lease_until_ms = :until",
            {
                ":state": text(State.PUBLISH_IN_FLIGHT),
                ":next": number(row.attempt + 1),
                ":owner": binary(owner),
                ":until": number(until_ms),
                ":attempt": number(row.attempt),
            },
            "attempt = :attempt",
        )
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError as lost:
            standing = _row(lost.item)
            return taken if standing is not None and standing.lease_owner == owner else None
        return taken

    async def note_second_copy(self, row: AdmissionRow, offset: int) -> None:
        """Keeps the offset of a copy that was appended by a holder who had lost the row meanwhile."""
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

    async def standing(self, dedupe_key: str) -> AdmissionRow | None:
        """The row as it stands, strongly consistent. Only the rare ways ask for it; an admission never reads."""
        request = {"TableName": self._table, "Key": {"dedupe_key": text(dedupe_key)}, "ConsistentRead": True}
        return _row((await self._store.call("GetItem", request)).get("Item"))

    def _update(self, row: AdmissionRow, expression: str, values: dict[str, Any], condition: str = "") -> dict[str, Any]:
        assert row.lease_owner is not None
        fence = condition or "lease_owner = :holder"
        return {
            "TableName": self._table,
            "Key": {"dedupe_key": text(row.dedupe_key)},
            "UpdateExpression": expression,
            "ConditionExpression": fence,
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": values if condition else values | {":holder": binary(row.lease_owner)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }


def _row(item: Item | None) -> AdmissionRow | None:
    return None if item is None else from_item(item)
