"""Where quarantine records stand: in their table of DynamoDB, which tells with a refused put what stands there."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from ingress.dynamodb import ConditionFailedError, DynamoDB, StoreError
from ingress.row import Item, text
from ingress.tables import PENDING_INDEX

PENDING = "1"  # the one partition of the sparse index; mismatches are rare


class QuarantineRows(Protocol):
    """Records by their quarantine_id. Methods raise StoreError: then nobody knows whether it was done."""

    async def put_new(self, item: Item) -> Item | None:
        """Puts a record whose id is new; where one stands already, that one."""

    def pending(self) -> AsyncIterator[Item]:
        """The records whose anomaly is not on the bus yet, as far as the rows know."""

    async def mark_published(self, quarantine: str) -> None:
        """Notes that the bus has acknowledged the anomaly of this record, if it stands."""


class QuarantineTable:
    """The table, and its sparse index of what is pending."""

    def __init__(self, store: DynamoDB, table: str) -> None:
        self._store = store
        self._table = table

    async def put_new(self, item: Item) -> Item | None:
        """As QuarantineRows says."""
        request = {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(quarantine_id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await self._store.call("PutItem", request)
        except ConditionFailedError as lost:
            if lost.item is None:
                raise StoreError("PutItem: the store refused the condition and did not say what stands there") from lost
            return lost.item
        return None

    async def pending(self) -> AsyncIterator[Item]:
        """As QuarantineRows says."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": PENDING_INDEX,
            "KeyConditionExpression": "anomaly_pending = :pending",
            "ExpressionAttributeValues": {":pending": text(PENDING)},
        }
        while True:
            page = await self._store.call("Query", request)
            for item in page["Items"]:
                yield item
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def mark_published(self, quarantine: str) -> None:
        """As QuarantineRows says."""
        request = {
            "TableName": self._table,
            "Key": {"quarantine_id": text(quarantine)},
            "UpdateExpression": "SET anomaly_published = :yes REMOVE anomaly_pending",
            "ConditionExpression": "attribute_exists(quarantine_id)",
            "ExpressionAttributeValues": {":yes": {"BOOL": True}},
        }
        try:
            await self._store.call("UpdateItem", request)
        except ConditionFailedError:
            return  # an operator removed the record meanwhile; an update would make a row of one column
