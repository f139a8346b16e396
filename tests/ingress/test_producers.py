"""Who may push what: keys and tokens, their rotation, allow-lists, and limits that are one's own (domain.md 2.14)."""

import hashlib
import json
from typing import Any

import pytest

from ingress.authn import FRESH_S, RETRY_S, STALE_S, Authority
from ingress.aws_json import ServiceError
from ingress.edge import Edge
from ingress.producers import Credentials, CredentialsError, read_credentials
from spine.tokens import issue
from tests.ingress.cloud import REGION, Cloud
from tests.ingress.proxy import Proxy
from tests.ingress.rig import RUN, Answered, Site, event_of, push, spent, traffic

SECRET, OLDER = "a secret of the tests", "an older secret of the tests"
TRAFFIC_CLASS = "traffic_fraud"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def document(**changes: Any) -> dict[str, Any]:
    return {
        "producers": [
            {"principal": "SYSTEM::wsp", "per_second": 100, "burst": 5, "key_hashes": [digest("new"), digest("old")]},
            {"principal": "SYSTEM::arrivals", "per_second": 50, "burst": 5, "classes": ["context_arrival"]},
            {"principal": "HUMAN::replay", "per_second": 50, "burst": 5, "runs": ["platform_20250101T000000Z"]},
        ],
        "token_secrets": [SECRET, OLDER],
    } | changes


def text(**changes: Any) -> str:
    return json.dumps(document(**changes))


def knows(known: str) -> Authority:
    async def load() -> Credentials:
        return read_credentials(known, 200)

    return Authority(load)


def who(authority: Authority, **headers: str) -> str | None:
    producer = authority.who({name.replace("_", "-"): value for name, value in headers.items()})
    return producer.principal if producer else None


async def test_two_keys_and_two_secrets_may_live_at_once_and_no_other() -> None:
    authority = knows(text())
    assert who(authority, x_ig_api_key="new") is None  # nothing is known before it was read
    assert await authority.ready()
    assert who(authority, x_ig_api_key="new") == who(authority, x_ig_api_key="old") == "SYSTEM::wsp"
    for secret in (SECRET, OLDER):
        assert who(authority, authorization=f"Bearer {issue(secret, 'SYSTEM::arrivals')}") == "SYSTEM::arrivals"
    assert who(authority, x_ig_api_key="third") is None
    assert who(authority, x_ig_api_key="") is None
    assert who(authority) is None
    assert who(authority, authorization=issue(SECRET, "SYSTEM::wsp")) is None  # no bearer
    assert who(authority, authorization=f"Bearer {issue('a secret of others', 'SYSTEM::wsp')}") is None
    assert who(authority, authorization=f"Bearer {issue(SECRET, 'SYSTEM::nobody')}") is None  # signed, and on no list
    assert who(authority, authorization="Bearer st.v1.ü.ü") is None
    after = knows(text(producers=[document()["producers"][0] | {"key_hashes": [digest("new")]}], token_secrets=[SECRET]))
    assert await after.ready()
    assert who(after, x_ig_api_key="old") is None
    assert who(after, authorization=f"Bearer {issue(OLDER, 'SYSTEM::wsp')}") is None


@pytest.mark.parametrize(
    "broken",
    [
        "no json",
        "{}",
        text(producers=[]),
        text(producers=[document()["producers"][0] | {"key_hashes": ["the-key-itself"]}]),
        text(producers=[document()["producers"][0] | {"key_hashes": [digest(name) for name in "abc"]}]),
        text(producers=[document()["producers"][0] | {"principal": "wsp"}]),
        text(producers=[document()["producers"][0] | {"classes": ["audit"]}]),
        text(producers=[document()["producers"][0]] * 2),
        text(producers=[document()["producers"][0] | {"per_second": 201}]),
        text(token_secrets=[SECRET] * 3),
        text(token_secrets=["short"]),
    ],
)
def test_a_document_that_can_not_be_meant_is_refused_without_its_secrets(broken: str) -> None:
    with pytest.raises(CredentialsError) as refused:
        read_credentials(broken, 200)
    assert "the-key-itself" not in str(refused.value)
    assert SECRET not in str(refused.value)


async def test_credentials_are_read_again_when_old_and_kept_while_they_can_not_be_and_not_for_ever() -> None:
    now, reads, away = 0.0, 0, False

    async def load() -> Credentials:
        nonlocal reads
        reads += 1
        if away:
            raise ServiceError("away")
        return read_credentials(text(), 200)

    authority = Authority(load, lambda: now)
    assert await authority.ready()
    now = FRESH_S - 1
    assert await authority.ready()
    assert reads == 1
    now = FRESH_S
    assert await authority.ready()
    assert reads == 2
    away = True
    now = 2 * FRESH_S
    assert await authority.ready()
    assert await authority.ready()  # not read again within the same moment
    assert (reads, authority.cause) == (3, "away")
    now = FRESH_S + STALE_S
    assert not await authority.ready()
    away = False
    now += RETRY_S
    assert await authority.ready()
    assert authority.cause == ""


async def test_allow_lists_of_class_and_run_refuse_with_a_record(site: Site) -> None:
    async with site.edge(api_key_hashes="", credentials=text(), rate_profile="seed") as edge:
        event = traffic()
        arrivals = {"X-IG-Api-Key": "", "Authorization": f"Bearer {issue(SECRET, 'SYSTEM::arrivals')}"}
        answer = await push(edge, event, arrivals)
        assert (answer.status, answer.decision, answer.reasons) == (400, "QUARANTINE", ["UNAUTHORIZED"])
        assert answer.body["field"] == "event_type"
        replay = {"X-IG-Api-Key": "", "Authorization": f"Bearer {issue(SECRET, 'HUMAN::replay')}"}
        assert (await push(edge, event, replay)).reasons == ["UNAUTHORIZED"]
        [kept] = [item for item in await site.quarantined() if item.get("event_id") == {"S": event["event_id"]}]
        # The first refusal of the same item for the same reason stands; its actor is the credential's, whatever a body says.
        assert kept["actor_id"] == {"S": "SYSTEM::arrivals"}
        assert (await push(edge, event, {"X-IG-Api-Key": "new"})).decision == "ADMIT"


async def test_a_producer_that_uses_up_its_limit_takes_nothing_from_another(site: Site) -> None:
    producers = [entry | {"per_second": 1} for entry in document()["producers"]]
    async with site.edge(api_key_hashes="", credentials=text(producers=producers), rate_profile="seed") as edge:
        greedy = [await push(edge, traffic(), {"X-IG-Api-Key": "new"}) for _ in range(8)]
        assert [answer.status for answer in greedy][:5] == [202] * 5
        limited = greedy[-1]
        assert (limited.status, limited.reasons) == (429, ["RATE_LIMITED"])
        assert int(limited.headers["retry-after"]) >= 1
        other = {"X-IG-Api-Key": "", "Authorization": f"Bearer {issue(SECRET, 'SYSTEM::arrivals')}"}
        assert (await push(edge, traffic(), other)).status == 400  # judged: its own bucket is full


async def test_the_store_of_credentials_is_read_at_the_first_request_and_may_go_away(site: Site, cloud: Cloud) -> None:
    name = f"/{site.name}/credentials"
    cloud.client("ssm").put_parameter(Name=name, Value=text(), Type="SecureString")
    async with Proxy(cloud.endpoint) as network:
        fields = {"api_key_hashes": "", "credentials_parameter": name, "ssm_endpoint": network.endpoint, "region": REGION, "probe_s": 3600}
        async with site.edge(**fields, rate_profile="seed") as edge:
            assert (await push(edge, traffic(), {"X-IG-Api-Key": "new"})).decision == "ADMIT"
            await network.cut()
            edge.authority._read_at -= FRESH_S  # older than it may be
            edge.authority._next_try = 0.0
            # Nothing is lost: it goes on with what it knows, and says so.
            assert (await push(edge, traffic(), {"X-IG-Api-Key": "new"})).decision == "ADMIT"
            assert (await push(edge, traffic(), {"X-IG-Api-Key": "wrong"})).status == 401
            assert edge.authority.cause
        cold = Edge(site.settings(**fields, rate_profile="seed"))
        await cold.start()
        try:
            edge_answer = await push(cold, traffic(), {"X-IG-Api-Key": "new"})
            assert (edge_answer.status, edge_answer.reasons) == (503, ["DEPENDENCY_UNAVAILABLE"])
            assert not spent(cold)
            health = Answered(await cold.handle(event_of(b"", method="GET", path="/v1/ops/health")))
            assert "credentials" in [cause["dependency"] for cause in health.body["causes"]]
            await network.mend()
            cold.authority._next_try = 0.0
            assert (await push(cold, traffic(), {"X-IG-Api-Key": "new"})).decision == "ADMIT"
        finally:
            await cold.stop()


def test_the_active_run_is_no_special_case() -> None:
    [wsp, arrivals, replay] = read_credentials(text(), 200).producers
    assert wsp.may_send(RUN, TRAFFIC_CLASS)
    assert not arrivals.may_send(RUN, TRAFFIC_CLASS)
    assert arrivals.may_send(RUN, "context_arrival")
    assert not replay.may_send(RUN, TRAFFIC_CLASS)
