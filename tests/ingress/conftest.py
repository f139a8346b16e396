"""A site for each module of tests: its own topics and tables on the session's engines."""

from collections.abc import AsyncIterator, Iterator

import pytest

from ingress.edge import Edge
from ingress.tables import ensure_tables
from laws.topics import TOPICS
from spine.provision import apply
from testkit.engines import EngineSet
from tests.ingress.cloud import Cloud, running_cloud
from tests.ingress.rig import Site, dummy_credentials


@pytest.fixture(scope="module")
async def site(engines: EngineSet) -> AsyncIterator[Site]:
    dummy_credentials()
    site = Site(engines.endpoints)
    settings = site.settings()
    await ensure_tables(settings.dynamodb_url, settings.region, settings.idempotency_table, settings.quarantine_table)
    await apply({"bootstrap_servers": site.endpoints.kafka_bootstrap}, TOPICS, site.prefix)
    await site.store.start()
    yield site
    await site.store.stop()


@pytest.fixture(scope="module")
async def edge(site: Site) -> AsyncIterator[Edge]:
    async with site.edge() as edge:
        yield edge


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    dummy_credentials()
    with running_cloud() as cloud:
        yield cloud
