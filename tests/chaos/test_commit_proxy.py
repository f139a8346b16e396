"""The wire breaks at the COMMIT that it was told to break at, and at no other byte."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from testkit.chaos.commit_proxy import CommitProxy, Cut
from testkit.engines import EngineSet
from testkit.harness import Site, new_site


@pytest.fixture
async def site(engines: EngineSet) -> AsyncIterator[Site]:
    site = await new_site(engines.endpoints)
    connection = await asyncpg.connect(site.operator_dsn)
    await connection.execute("CREATE TABLE kept (number int)")
    await connection.close()
    yield site


async def insert(connection: asyncpg.Connection, number: int) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO kept VALUES ($1)", number)


@pytest.mark.parametrize(("cut", "kept"), [(Cut.BEFORE, [1]), (Cut.AFTER, [1, 2]), (Cut.BLIND, None)])
async def test_the_answer_to_one_commit_is_lost(site: Site, cut: Cut, kept: list[int] | None) -> None:
    proxy = CommitProxy(site.operator_dsn)
    async with proxy.relaying():
        connection = await asyncpg.connect(proxy.through(site.operator_dsn))
        await insert(connection, 1)
        proxy.order(cut)
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            await insert(connection, 2)
        assert proxy.cuts[cut] == 1
    direct = await asyncpg.connect(site.operator_dsn)
    found = [row["number"] for row in await direct.fetch("SELECT number FROM kept ORDER BY number")]
    await direct.close()
    assert found in ([[1], [1, 2]] if kept is None else [kept])


async def test_a_held_commit_waits_and_then_goes_on(site: Site) -> None:
    proxy = CommitProxy(site.operator_dsn)
    async with proxy.relaying():
        connection = await asyncpg.connect(proxy.through(site.operator_dsn))
        direct = await asyncpg.connect(site.operator_dsn)
        async with proxy.holding():
            inserting = asyncio.create_task(insert(connection, 1))
            await proxy.held.wait()
            assert await direct.fetchval("SELECT count(*) FROM kept") == 0
            assert not inserting.done()
        await inserting
        assert await direct.fetchval("SELECT count(*) FROM kept") == 1
        await connection.close()
        await direct.close()
