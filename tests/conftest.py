"""One set of engines for a whole session of tests."""

from collections.abc import Iterator

import pytest

from testkit.engines import EngineSet, borrowed


@pytest.fixture(scope="session")
def engines() -> Iterator[EngineSet]:
    """Kafka, PostgreSQL and DynamoDB Local; tests make their own names on them."""
    with borrowed() as found:
        yield found
