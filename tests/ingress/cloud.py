"""SQS, S3 and SSM of one session: moto's server in a thread. DynamoDB and Kafka are real engines (tests/conftest.py)."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.session import get_session
from moto.server import ThreadedMotoServer

REGION = "eu-west-2"


class Cloud:
    """One server; tests make their own names on it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str) -> Any:
        """A client of the vendor's own kit, to look with other eyes than the edge's."""
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
        return get_session().create_client(service, endpoint_url=self.endpoint, region_name=REGION, **keys)

    def queue(self, **attributes: str) -> str:
        """A new queue; its URL."""
        url: str = self.client("sqs").create_queue(QueueName=f"q{secrets.token_hex(4)}", Attributes=attributes)["QueueUrl"]
        return url

    def messages(self, queue_url: str) -> list[dict[str, Any]]:
        """What stands in a queue, taken out."""
        sqs, found = self.client("sqs"), []
        while batch := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages"):
            for message in batch:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found


@contextmanager
def running_cloud() -> Iterator[Cloud]:
    """A server for as long as the block runs."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Cloud(f"http://{host}:{port}")
    finally:
        server.stop()
