"""The archive's Lambda function: `ingress.archive_handler.handler`, called by the two tables' streams, and by a schedule to back-fill."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ingress.archive import Archive, StreamArchive
from ingress.dynamodb import DynamoDB
from ingress.logs import configure_logs
from ingress.objects import Objects
from ingress.settings import load_settings
from ingress.warm import Warm


class _Opened(NamedTuple):
    archive: StreamArchive
    store: DynamoDB
    objects: Objects


async def _open() -> _Opened:
    configure_logs()
    settings = load_settings()
    store = DynamoDB(settings.dynamodb_url, settings.region, connections=4)
    objects = Objects(settings.s3_url, settings.region, settings.archive_bucket)
    await store.start()
    await objects.start()
    return _Opened(StreamArchive(Archive(objects), store, settings.idempotency_table), store, objects)


_warm = Warm(_open)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """The partial batch answer to a stream; how many receipts were back-filled, to a schedule."""
    return _warm.run(lambda opened: _answer(opened.archive, event))


async def _answer(archive: StreamArchive, event: Mapping[str, Any]) -> dict[str, Any]:
    records = event.get("Records")
    if records is None:
        return {"backfilled": await archive.backfill()}
    return {"batchItemFailures": [{"itemIdentifier": number} for number in await archive.take(records)]}
