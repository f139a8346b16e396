"""Glue's registry is filled after a check of our own, and an edge lets nothing in before its contracts stand there (domain.md 2.13)."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator

import pytest
from botocore.exceptions import ClientError

from ingress.aws_json import ServiceError
from ingress.edge import Edge
from ingress.glue import SchemaRegistry, as_definition, definition_of, name_of
from ingress.health import SCHEMAS, HealthState
from ingress.publish_schemas import Change, Plan, contracts, plan, publish
from ingress.released import released
from ingress.schema_gate import RETRY_S
from ingress.schema_gate import contracts as of_the_edge
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.proxy import Proxy
from tests.ingress.rig import Site, push, traffic

TRAFFIC_SCHEMA = ("s3_event_stream_with_fraud_6B", "v0")
ANCHOR_SCHEMA = ("s3_flow_anchor_with_fraud_6B", "v0")


@pytest.fixture
async def registry(cloud: Cloud) -> AsyncIterator[SchemaRegistry]:
    registry = SchemaRegistry(cloud.endpoint, REGION, f"r{secrets.token_hex(4)}")
    await registry.start()
    yield registry
    await registry.stop()


def versions(cloud: Cloud, registry: SchemaRegistry, name: str) -> int:
    """How many versions of a schema stand, as the vendor's own client sees them."""
    found = cloud.client("glue").get_schema(SchemaId={"RegistryName": registry.registry, "SchemaName": name})
    return int(found["LatestSchemaVersion"])


async def test_every_released_schema_is_published_once(cloud: Cloud, registry: SchemaRegistry) -> None:
    first = await publish(registry)
    assert {each.change for each in first} == {Change.FIRST}
    assert {each.name for each in first} == {name_of(*each) for each in contracts()}
    assert {each.change for each in await publish(registry)} == {Change.STANDS}
    assert {versions(cloud, registry, each.name) for each in first} == {1}
    latest = cloud.client("glue").get_schema_version(
        SchemaId={"RegistryName": registry.registry, "SchemaName": name_of(*TRAFFIC_SCHEMA)}, SchemaVersionNumber={"LatestVersion": True}
    )
    assert (latest["DataFormat"], latest["SchemaDefinition"]) == ("JSON", definition_of(*TRAFFIC_SCHEMA))


async def test_what_adds_becomes_the_next_version_and_what_breaks_keeps_everything_out(cloud: Cloud, registry: SchemaRegistry) -> None:
    """The registry has a form of one contract to which the tree's adds, and one of another from which the tree's takes away."""
    await registry.ensure()
    anchor, event = name_of(*ANCHOR_SCHEMA), name_of(*TRAFFIC_SCHEMA)
    older = released(*ANCHOR_SCHEMA)
    del older["$defs"]["FlowAnchor"]["properties"]["device_id"]
    await registry.create(anchor, as_definition(older))
    [adds] = [each for each in await plan(registry) if each.name == anchor]
    assert (adds.change, adds.breaks) == (Change.ADDS, ())

    other = released(*TRAFFIC_SCHEMA)
    other["$defs"]["TrafficEvent"]["properties"]["promised"] = {"type": "string"}
    await registry.create(event, as_definition(other))
    planned = await publish(registry)
    assert [(each.name, each.breaks) for each in planned if each.breaks] == [(event, ("$.promised: is gone",))]
    assert versions(cloud, registry, anchor) == 1  # one that breaks keeps all of them out
    assert await registry.latest(name_of("action_intent", "v1")) is None

    cloud.client("glue").delete_schema(SchemaId={"RegistryName": registry.registry, "SchemaName": event})
    await publish(registry)
    assert versions(cloud, registry, anchor) == 2


async def command(cloud: Cloud, registry: SchemaRegistry, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ingress.publish_schemas", "--registry", registry.registry, "--endpoint", cloud.endpoint, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_says_what_it_does(cloud: Cloud, registry: SchemaRegistry) -> None:
    code, out, _ = await command(cloud, registry, "--check")
    assert (code, len(out.splitlines())) == (0, len(contracts()))
    with pytest.raises(ClientError, match="EntityNotFound"):
        cloud.client("glue").get_registry(RegistryId={"RegistryName": registry.registry})
    await registry.ensure()
    other = as_definition({"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]})
    await registry.create(name_of(*TRAFFIC_SCHEMA), other)
    code, out, err = await command(cloud, registry)
    assert (code, out) == (1, "")
    assert f"{name_of(*TRAFFIC_SCHEMA)}: $.x: is gone: give the changed contract a version of its own" in err
    cloud.client("glue").delete_schema(SchemaId={"RegistryName": registry.registry, "SchemaName": name_of(*TRAFFIC_SCHEMA)})
    code, out, _ = await command(cloud, registry)
    assert (code, {line.split()[0] for line in out.splitlines()}) == (0, {"first"})
    code, out, _ = await command(cloud, registry)
    assert (code, {line.split()[0] for line in out.splitlines()}) == (0, {"stands"})


async def refused(edge: Edge) -> str:
    """A push that the edge lets nothing of in; the cause that health gives."""
    edge.store.calls.clear()
    answer = await push(edge, traffic())
    assert (answer.status, answer.reasons) == (503, ["IG_UNHEALTHY"])
    assert answer.headers["retry-after"]
    assert not {"PutItem", "UpdateItem"} & set(edge.store.calls)
    assert edge.health.state is HealthState.RED
    [cause] = [str(cause["cause"]) for cause in edge.health.causes if cause["dependency"] == SCHEMAS]
    return cause


async def test_an_edge_lets_nothing_in_before_its_contracts_stand_in_the_registry(
    site: Site, cloud: Cloud, registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingress.schema_gate.RETRY_S", 0.0)
    assert RETRY_S > 0
    async with Proxy(cloud.endpoint) as network:
        await network.cut()
        fields = {"schema_registry": registry.registry, "glue_endpoint": network.endpoint, "region": REGION, "probe_s": 3600}
        async with site.edge(**fields) as edge:
            assert "can't be asked" in await refused(edge)  # nobody answers
            await network.mend()
            await edge.health.probe(edge._probes())
            assert "publish them first" in await refused(edge)  # there is no such registry
            await publish(registry)
            traffic_schema = {"RegistryName": registry.registry, "SchemaName": name_of(*TRAFFIC_SCHEMA)}
            cloud.client("glue").delete_schema(SchemaId=traffic_schema)
            await edge.health.probe(edge._probes())
            cause = await refused(edge)  # it lacks one contract
            assert name_of(*TRAFFIC_SCHEMA) in cause
            assert name_of("arrival_events_5B", "v0") not in cause
            await publish(registry)
            await edge.health.probe(edge._probes())
            assert edge.health.state is HealthState.GREEN
            assert (await push(edge, traffic())).decision == "ADMIT"
            await network.cut()  # what was released stays so: the registry is not asked again
            await edge.health.probe(edge._probes())
            assert (await push(edge, traffic())).decision == "ADMIT"


async def test_an_older_release_stays_open_while_the_next_one_is_published(site: Site, cloud: Cloud, registry: SchemaRegistry) -> None:
    await publish(registry)
    newer = released(*TRAFFIC_SCHEMA)
    newer["$defs"]["TrafficEvent"]["properties"]["later"] = {"type": "string"}
    await registry.add(name_of(*TRAFFIC_SCHEMA), as_definition(newer))
    fields = {"schema_registry": registry.registry, "glue_endpoint": cloud.endpoint, "region": REGION}
    async with site.edge(**fields) as edge:
        assert (await push(edge, traffic())).decision == "ADMIT"


async def test_a_cold_start_asks_once_for_each_contract_whoever_asks(site: Site, cloud: Cloud, registry: SchemaRegistry) -> None:
    await publish(registry)
    edge = Edge(site.settings(schema_registry=registry.registry, glue_endpoint=cloud.endpoint, region=REGION, probe_s=3600))
    await edge.start(probe=False)  # as a handler does: its first request comes while the watch looks as well
    try:
        answers = await asyncio.gather(*(push(edge, traffic()) for _ in range(4)))
        assert {answer.decision for answer in answers} == {"ADMIT"}
        assert edge._registry is not None
        assert edge._registry.calls == {"GetSchemaByDefinition": len(of_the_edge())}
    finally:
        await edge.stop()


async def test_a_cold_start_lets_nothing_in_before_the_registry_has_answered(
    site: Site, cloud: Cloud, registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was probed yet: the first request itself has to find out."""
    edge = Edge(site.settings(schema_registry=registry.registry, glue_endpoint=cloud.endpoint, region=REGION, probe_s=3600))
    monkeypatch.setattr(edge.health, "watch", _never)
    await edge.start(probe=False)
    try:
        assert edge.health.state is HealthState.GREEN
        assert "publish them first" in await refused(edge)
    finally:
        await edge.stop()


async def _never(*_: object, at_once: bool) -> None:
    """Does not look."""


async def test_a_registry_that_refuses_a_version_is_told(registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failure(_name: str, _definition: str) -> object:
        return type("Found", (), {"status": "FAILURE"})

    await registry.ensure()
    planned = await plan(registry)
    assert planned[0].change is Change.FIRST
    monkeypatch.setattr("ingress.publish_schemas.plan", lambda _: _gives(planned))
    monkeypatch.setattr(registry, "find", failure)
    with pytest.raises(ServiceError, match="made it FAILURE"):
        await publish(registry)


async def _gives(planned: list[Plan]) -> list[Plan]:
    return planned


def test_definitions_are_texts_that_do_not_differ_by_a_space() -> None:
    one = definition_of(*TRAFFIC_SCHEMA)
    assert as_definition(json.loads(json.dumps(json.loads(one), indent=2))) == one
