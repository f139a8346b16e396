"""DynamoDB over its own protocol: what a lost condition says is part of the answer."""

from typing import Any, ClassVar

from ingress.aws_json import AwsJson, ServiceError
from ingress.row import Item


class StoreError(ServiceError):
    """The store did not do what it was asked, or nobody knows whether it did."""


class ConditionFailedError(Exception):
    """The condition of a write did not hold; `item` is what stood there, None if nothing did."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("condition failed")
        self.item = item


class DynamoDB(AwsJson):
    """`call` raises ConditionFailedError for a lost condition, StoreError for everything else."""

    service: ClassVar[str] = "dynamodb"
    target: ClassVar[str] = "DynamoDB_20120810"
    error: ClassVar[type[ServiceError]] = StoreError

    def refusal(self, operation: str, code: str, message: str, answer: dict[str, Any]) -> Exception:
        """A lost condition is an answer, not an error of the store."""
        if code == "ConditionalCheckFailedException":
            return ConditionFailedError(answer.get("Item"))
        return super().refusal(operation, code, message, answer)
