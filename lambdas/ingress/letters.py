"""The dead-letter queue (authority.md 5.1.1 item 11: IG_DLQ_MODE=SQS): events that failed past their retries, with their coordinates."""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from ingress.aws_json import AwsJson, ServiceError
from ingress.spread import spread

BATCH = 10  # SQS takes no more at once


class Letter(msgspec.Struct, frozen=True):
    """One event whose row stands and whose outcome the edge could not find out or write down (domain.md 2.10)."""

    failed_at_utc: str
    reason: str
    dedupe_key: str
    platform_run_id: str
    scenario_run_id: str
    event_id: str
    event_type: str
    topic: str
    partition: int
    low_water: str
    """No copy stands below this offset."""
    correlation_headers: dict[str, str]


DECODER = msgspec.json.Decoder(Letter)


class LetterQueue(AwsJson):
    """Sends letters, and reads them where no Lambda event source does. Methods raise ServiceError."""

    service: ClassVar[str] = "sqs"
    target: ClassVar[str] = "AmazonSQS"

    def __init__(self, queue_url: str, region: str) -> None:
        parts = urlsplit(queue_url)
        super().__init__(f"{parts.scheme}://{parts.netloc}", region, connections=4)
        self._queue_url = queue_url

    async def send(self, letters: Sequence[Letter]) -> None:
        """Returns when the queue has all of them."""
        batches = [letters[start : start + BATCH] for start in range(0, len(letters), BATCH)]
        await spread(self._send, batches, width=4)

    async def receive(self, visibility_s: int) -> list[dict[str, Any]]:
        """Up to ten messages, in the words of Lambda's SQS event; others do not see them for `visibility_s` seconds."""
        request = {"QueueUrl": self._queue_url, "MaxNumberOfMessages": BATCH, "VisibilityTimeout": visibility_s, "WaitTimeSeconds": 0}
        answer = await self.call("ReceiveMessage", request)
        return [
            {"messageId": each["MessageId"], "receiptHandle": each["ReceiptHandle"], "body": each["Body"], "eventSource": "aws:sqs"}
            for each in answer.get("Messages", [])
        ]

    async def delete(self, receipt_handles: Sequence[str]) -> None:
        """Ends messages that were received."""
        entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(receipt_handles)]
        if entries:
            await self._all_or_raise("DeleteMessageBatch", entries)

    async def probe(self) -> None:
        """Raises ServiceError where the queue can't be asked."""
        await self.call("GetQueueAttributes", {"QueueUrl": self._queue_url, "AttributeNames": ["ApproximateNumberOfMessages"]})

    async def _send(self, letters: Sequence[Letter]) -> None:
        entries = [{"Id": str(index), "MessageBody": msgspec.json.encode(letter).decode()} for index, letter in enumerate(letters)]
        await self._all_or_raise("SendMessageBatch", entries)

    async def _all_or_raise(self, operation: str, entries: list[dict[str, str]]) -> None:
        answer = await self.call(operation, {"QueueUrl": self._queue_url, "Entries": entries})
        if failed := answer.get("Failed"):
            raise ServiceError(f"{operation}: {len(failed)} of {len(entries)} entries failed, the first with {failed[0].get('Code')}")
