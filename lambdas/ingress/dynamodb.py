"""DynamoDB over its own protocol: what a lost condition says is part of the answer."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

from ingress.aws_json import AwsJson, ServiceError
from ingress.row import Item

STATEMENTS = 25
"""The service takes no more in one request."""


class StoreError(ServiceError):
    """The store did not do what it was asked, or nobody knows whether it did."""


class ConditionFailedError(Exception):
    """The condition of a write did not hold; `item` is what stood there, None if nothing did."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("condition failed")
        self.item = item


Outcome: TypeAlias = "bool | Item | StoreError"
"""Of one write among others: True, it was done; what stood in its way; False, it was refused without saying why; or nobody knows."""


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

    async def each(self, operation: str, statements: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Writes of single items in PartiQL, at most STATEMENTS of them: each has its own condition, and is done or not by itself.

        `operation` is what each counts as in `calls`. Where the request fails, some may have been done.
        """
        self.calls[operation] += len(statements)
        try:
            answer = await self.call("BatchExecuteStatement", {"Statements": statements})
        except StoreError as error:
            return [error] * len(statements)
        errors = [said.get("Error") for said in answer["Responses"]]
        return [True if error is None else error.get("Item") or False for error in errors]


def done(outcome: Outcome) -> bool:
    """Whether a write was done, False if only a write by itself can tell. Raises ConditionFailedError or StoreError where it was not."""
    if isinstance(outcome, bool):
        return outcome
    raise outcome if isinstance(outcome, StoreError) else ConditionFailedError(outcome)
