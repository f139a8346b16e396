"""The engines are real, keep their data over a kill, and never outlive their owner."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from testkit.engines import (
    Deadline,
    DeadlineExceededError,
    Endpoints,
    EngineError,
    EngineSet,
    Kind,
    attached,
    borrowed,
    down,
    start,
    up,
)
from testkit.engines._cache import cache_root
from testkit.engines._jars import LOCK_FILE, jars, place
from testkit.engines._process import Identity, family


@pytest.fixture(scope="module")
def engines() -> Iterator[EngineSet]:
    with start() as started:
        yield started


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, which borrows the jars of the real one."""
    jars("kafka"), jars("dynamodb")
    (tmp_path / "jars").symlink_to(cache_root() / "jars")
    monkeypatch.setenv("FP_CACHE", str(tmp_path))
    return tmp_path


async def make_topic(endpoints: Endpoints) -> str:
    name = f"t-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka_bootstrap)
    await admin.start()
    try:
        created = await admin.create_topics([NewTopic(name, 1, 1)])
        assert created.topic_errors[0][1] == 0
    finally:
        await admin.close()
    return name


async def produce(endpoints: Endpoints, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=endpoints.kafka_bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def consume_first(endpoints: Endpoints, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=endpoints.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        record = await consumer.getone()
        assert record.value is not None
        return bytes(record.value)
    finally:
        await consumer.stop()


async def dynamodb(endpoints: Endpoints, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20000101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(endpoints.dynamodb_endpoint, data=json.dumps(body), headers=headers) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def make_table(endpoints: Endpoints) -> str:
    name = f"t-{uuid.uuid4().hex}"
    status, _ = await dynamodb(
        endpoints,
        "CreateTable",
        {
            "TableName": name,
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    assert status == 200
    return name


async def test_kafka_carries_a_record(engines: EngineSet) -> None:
    topic = await make_topic(engines.endpoints)
    await produce(engines.endpoints, topic, b"one")
    assert await consume_first(engines.endpoints, topic) == b"one"


async def test_kafka_has_a_group_coordinator_from_the_first_moment(engines: EngineSet) -> None:
    topic = await make_topic(engines.endpoints)
    await produce(engines.endpoints, topic, b"one")
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=engines.endpoints.kafka_bootstrap, group_id="g", auto_offset_reset="earliest")
    await consumer.start()
    try:
        assert (await consumer.getone()).value == b"one"
    finally:
        await consumer.stop()


async def test_kafka_makes_no_topic_that_nobody_declared(engines: EngineSet) -> None:
    undeclared = f"undeclared-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=engines.endpoints.kafka_bootstrap)
    await admin.start()
    try:
        await admin.describe_topics([undeclared])
        assert undeclared not in await admin.list_topics()
    finally:
        await admin.close()


async def test_postgres_is_durable_and_wants_its_password(engines: EngineSet) -> None:
    dsn = engines.endpoints.postgres_dsn
    connection = await asyncpg.connect(dsn)
    try:
        settings = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in ("fsync", "password_encryption")}
        assert settings == {"fsync": "on", "password_encryption": "scram-sha-256"}
        assert (await connection.fetchval("SHOW server_version")).startswith("18.")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn, password="guess")
    finally:
        await connection.close()


async def test_dynamodb_lets_one_of_two_conditional_puts_win(engines: EngineSet) -> None:
    table = await make_table(engines.endpoints)
    put = {"TableName": table, "Item": {"id": {"S": "a"}}, "ConditionExpression": "attribute_not_exists(id)"}
    assert (await dynamodb(engines.endpoints, "PutItem", put))[0] == 200
    status, answer = await dynamodb(engines.endpoints, "PutItem", put)
    assert status == 400
    assert answer["__type"].endswith("ConditionalCheckFailedException")


async def test_kafka_keeps_its_records_over_a_kill(engines: EngineSet) -> None:
    topic = await make_topic(engines.endpoints)
    await produce(engines.endpoints, topic, b"before")
    before = (engines.endpoints.kafka_bootstrap, engines.kafka.pid)
    engines.kafka.kill()
    assert engines.kafka.pid is None
    engines.kafka.restart()
    assert engines.endpoints.kafka_bootstrap == before[0]
    assert engines.kafka.pid != before[1]
    assert await consume_first(engines.endpoints, topic) == b"before"


async def test_postgres_keeps_what_was_committed_over_a_kill(engines: EngineSet) -> None:
    connection = await asyncpg.connect(engines.endpoints.postgres_dsn)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    postmaster = engines.postgres.pid
    assert postmaster is not None
    processes = [identity for pid in family(postmaster) if (identity := Identity.of(pid)) is not None]
    assert len(processes) > 3  # the backend of this connection and the workers belong to it
    engines.postgres.kill()
    assert not any(process.alive for process in processes)
    engines.postgres.restart()
    connection = await asyncpg.connect(engines.endpoints.postgres_dsn)
    try:
        assert await connection.fetchval("SELECT id FROM kept") == 7
    finally:
        await connection.close()


async def test_dynamodb_keeps_its_items_over_a_kill(engines: EngineSet) -> None:
    table = await make_table(engines.endpoints)
    await dynamodb(engines.endpoints, "PutItem", {"TableName": table, "Item": {"id": {"S": "a"}}})
    engines.dynamodb.kill()
    engines.dynamodb.restart()
    status, answer = await dynamodb(engines.endpoints, "GetItem", {"TableName": table, "Key": {"id": {"S": "a"}}})
    assert (status, answer) == (200, {"Item": {"id": {"S": "a"}}})


async def test_a_paused_engine_keeps_connections_and_answers_nothing(engines: EngineSet) -> None:
    connection = await asyncpg.connect(engines.endpoints.postgres_dsn)
    try:
        engines.postgres.pause()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 1", timeout=0.3)
        engines.postgres.resume()
    finally:
        engines.postgres.resume()
        await connection.close()
    connection = await asyncpg.connect(engines.endpoints.postgres_dsn)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def run_starter(code: str, environment: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Run `code` in a process of its own and return it with the one line of JSON that it prints."""
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    assert starter.stdout is not None
    line = starter.stdout.readline()
    assert line, f"the starter ended with status {starter.wait()}"
    return starter, json.loads(line)


def identities(pids: list[int]) -> list[Identity]:
    found = [Identity.of(pid) for pid in pids]
    assert all(found)
    return [identity for identity in found if identity is not None]


def test_engines_end_when_their_owner_is_killed() -> None:
    starter, said = run_starter("""
        import json, os, signal
        from testkit.engines import start
        from testkit.engines._process import family
        engines = start()
        child = os.fork()  # a forked worker that lives on must not hold the engines up
        if child:
            memory = os.path.realpath(engines.home / "dynamodb" / "data")
            pids = [pid for handle in engines.handles for pid in [handle.keeper.pid, *family(handle.pid)]]
            print(json.dumps({"pids": pids, "places": [str(engines.home), memory], "child": child}), flush=True)
        signal.pause()
    """)
    processes = identities(said["pids"])
    assert len(processes) > 8
    try:
        starter.kill()
        starter.wait()
        Deadline(10).until("end of the engines", lambda: not any(process.alive for process in processes))
        Deadline(10).until("removal of their data", lambda: not any(Path(place).exists() for place in said["places"]))
    finally:
        os.kill(said["child"], signal.SIGKILL)


def test_an_engine_ends_when_its_keeper_is_killed() -> None:
    with start([Kind.POSTGRES]) as engines:
        postmaster = engines.postgres.pid
        assert postmaster is not None
        processes = identities(family(postmaster))
        os.kill(engines.postgres.keeper.pid, signal.SIGKILL)
        Deadline(10).until("end of the engine", lambda: not any(process.alive for process in processes))
        with pytest.raises(EngineError, match=r"its keeper .* is gone"):
            engines.postgres.restart()


async def test_a_folder_serves_one_set_at_a_time_and_keeps_its_data(tmp_path: Path) -> None:
    home = tmp_path / "data"
    with start([Kind.POSTGRES], data_dir=home) as first:
        connection = await asyncpg.connect(first.endpoints.postgres_dsn)
        await connection.execute("CREATE TABLE kept (id int)")
        await connection.close()
        with pytest.raises(EngineError, match="in use by another set"):
            start([Kind.POSTGRES], data_dir=home)
    with start([Kind.POSTGRES], data_dir=home) as second:
        connection = await asyncpg.connect(second.endpoints.postgres_dsn)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()


def test_a_folder_stays_locked_while_an_engine_of_a_dead_owner_lives(tmp_path: Path) -> None:
    home = tmp_path / "data"
    starter, said = run_starter(f"""
        import json, signal
        from pathlib import Path
        from testkit.engines import Kind, start
        engines = start([Kind.POSTGRES], data_dir=Path({str(home)!r}))
        print(json.dumps({{"keeper": engines.postgres.keeper.pid}}), flush=True)
        signal.pause()
    """)
    os.kill(said["keeper"], signal.SIGSTOP)  # the engine lives on for as long as its keeper cannot act
    starter.kill()
    starter.wait()
    with pytest.raises(EngineError, match="in use by another set"):
        start([Kind.POSTGRES], data_dir=home)
    keeper = identities([said["keeper"]])[0]
    os.kill(said["keeper"], signal.SIGCONT)
    Deadline(10).until("end of the keeper", lambda: not keeper.alive)
    with start([Kind.POSTGRES], data_dir=home) as again:
        assert again.postgres.pid is not None


def test_data_of_its_own_is_removed_at_the_end() -> None:
    with start([Kind.POSTGRES, Kind.DYNAMODB]) as engines:
        home = engines.home
        assert home.is_dir()
        memory = (home / "dynamodb" / "data").resolve()
        assert memory.is_dir()
    assert not home.exists()
    assert not memory.exists()


def test_an_engine_that_was_not_asked_for_is_named() -> None:
    with start([Kind.POSTGRES]) as engines:
        assert engines.endpoints.kafka_bootstrap == ""
        with pytest.raises(EngineError, match="no kafka, only postgres"):
            _ = engines.kafka


def test_an_engine_that_cannot_start_says_its_last_words(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9.6\n")
    (tmp_path / "postgres" / "password").write_text("x\n")
    with pytest.raises(EngineError, match=r"postgres on port \d+ ended with status \d+: .+"):
        start([Kind.POSTGRES], data_dir=tmp_path)


async def test_the_shared_set_outlives_its_starter_and_can_be_restarted(own_cache: Path) -> None:
    assert attached() is None
    starter, said = run_starter("""
        import json
        from dataclasses import asdict
        from testkit.engines import up
        print(json.dumps(asdict(up().endpoints)), flush=True)
    """)
    assert starter.wait() == 0
    try:
        shared = attached()
        assert shared is not None
        assert shared.endpoints == up().endpoints == Endpoints(**said)
        with borrowed() as session:
            assert session.endpoints == shared.endpoints
        shared.postgres.kill()
        shared.postgres.restart()
        connection = await asyncpg.connect(shared.endpoints.postgres_dsn)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        assert down()
    assert attached() is None
    assert not down()
    assert not (own_cache / "engines" / "shared").exists()


def test_a_jar_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_CACHE", str(tmp_path))
    lock_file = tmp_path / "jars.lock"
    lock_file.write_text(f"{hashlib.sha256(b'published').hexdigest()}  kafka/a.jar\n")
    jar = place("kafka", lock_file) / "a.jar"
    jar.write_bytes(b"published")
    assert jars("kafka", lock_file) == jar.parent
    jar.write_bytes(b"tampered")
    with pytest.raises(EngineError, match=r"a\.jar: sha256 is .*, jars\.lock says .*: remove .* so that it is fetched again"):
        jars("kafka", lock_file)


def test_missing_jars_without_a_network_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FP_CACHE", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: every connection is refused
    with pytest.raises(EngineError, match=r"the jars of kafka are not in the cache .* connect to a network once"):
        jars("kafka")


def test_the_jars_are_locked_without_an_address() -> None:
    text = LOCK_FILE.read_text()
    assert "://" not in text
    assert all(len(line.split("  ")[0]) == 64 for line in text.splitlines())


def test_a_deadline_names_what_it_waited_for() -> None:
    with pytest.raises(DeadlineExceededError, match=r"the impossible: not within 0\.05 s"):
        Deadline(0.05).until("the impossible", lambda: False)
