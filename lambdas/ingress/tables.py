"""The edge's two tables (domain.md 2.9, 2.12). Terraform makes them on the managed rungs; this makes the same on a local engine."""

import asyncio
from typing import Any

from ingress.dynamodb import DynamoDB, StoreError

PENDING_INDEX = "pending-anomalies"
"""Sparse: only rows whose anomaly is not yet on the bus carry its key, so asking for them costs nothing when there are none."""

_LOOK_EVERY_S = 0.1
_LOOKS = 100  # a local engine has its tables at once; 10 s is a stuck one


def idempotency_table(name: str) -> dict[str, Any]:
    """CreateTable request of the admission rows."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "dedupe_key", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "dedupe_key", "KeyType": "HASH"}],
    }


def quarantine_table(name: str) -> dict[str, Any]:
    """CreateTable request of the quarantine records; they have no end of life."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "quarantine_id", "AttributeType": "S"},
            {"AttributeName": "anomaly_pending", "AttributeType": "S"},
        ],
        "KeySchema": [{"AttributeName": "quarantine_id", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": PENDING_INDEX,
                "KeySchema": [{"AttributeName": "anomaly_pending", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    }


async def ensure_tables(
    endpoint: str, region: str = "local", idempotency: str = "ig-idempotency", quarantine: str = "ig-quarantine"
) -> None:
    """Makes the tables that are missing on a local engine and waits until they serve. Raises StoreError."""
    store = DynamoDB(endpoint, region, connections=2)
    await store.start()
    try:
        await _ensure(store, idempotency_table(idempotency))
        await _ensure(store, quarantine_table(quarantine))
        await _expire(store, idempotency)
    finally:
        await store.stop()


async def _ensure(store: DynamoDB, table: dict[str, Any]) -> None:
    try:
        await store.call("CreateTable", table)
    except StoreError as error:
        if "ResourceInUseException" not in str(error):
            raise
    for _ in range(_LOOKS):
        described = await store.call("DescribeTable", {"TableName": table["TableName"]})
        if described["Table"]["TableStatus"] == "ACTIVE":
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise StoreError(f"table {table['TableName']} is not active after {_LOOKS * _LOOK_EVERY_S:g} s")


async def _expire(store: DynamoDB, table: str) -> None:
    described = await store.call("DescribeTimeToLive", {"TableName": table})
    if described["TimeToLiveDescription"]["TimeToLiveStatus"] in ("ENABLED", "ENABLING"):
        return  # switching on what is on is refused by the service
    specification = {"AttributeName": "ttl_epoch", "Enabled": True}
    await store.call("UpdateTimeToLive", {"TableName": table, "TimeToLiveSpecification": specification})
