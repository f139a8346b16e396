"""A world can be played again byte for byte, costs the same memory at any size, and tells nobody the truth."""

import hashlib
import json
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice

import msgspec
import pytest

from testkit.world import NO_MESS, EdgeKind, EdgeSend, RunIds, World, WorldConfig, event_id_of, pins_of
from testkit.world.clock import format_utc, parse_utc
from testkit.world.merchants import DEMAND_CLASSES, Merchants

RUN = RunIds("platform_20260105T000000Z", "a" * 32)
OTHER_RUN = RunIds("platform_20260106T000000Z", "b" * 32)
SIZE = 60_000
LEAK_COLUMNS = {"fraud_flag", "campaign_id", "session_end_utc", "arrival_count", "is_fraud_truth", "fraud_label"}
PINS = {"manifest_fingerprint", "parameter_hash", "seed", "scenario_id", "run_id", "platform_run_id", "scenario_run_id"}


def digest(config: WorldConfig, run: RunIds = RUN) -> str:
    hasher = hashlib.sha256()
    for step in World(config, run):
        hasher.update(msgspec.json.encode(step))
    return hasher.hexdigest()


def valid(steps: Iterator[EdgeSend] | World) -> Iterator[EdgeSend]:
    return (step for step in steps if isinstance(step, EdgeSend) and step.kind is EdgeKind.VALID)


@pytest.fixture(scope="module")
def sent() -> list[EdgeSend]:
    return [step for step in valid(World(WorldConfig(seed=3, size=SIZE), RUN)) if "large_payload" not in step.notes]


@pytest.fixture(scope="module")
def payloads(sent: list[EdgeSend]) -> dict[str, list[dict[str, object]]]:
    by_type: dict[str, list[dict[str, object]]] = defaultdict(list)
    for step in sent:
        by_type[step.event_type].append(json.loads(step.envelope)["payload"])
    return by_type


def test_the_same_config_gives_the_same_bytes() -> None:
    config = WorldConfig(seed=11, size=3_000)
    world = World(config, RUN)
    assert digest(config) == digest(config)
    assert list(world) == list(world), "a world can be iterated twice"


def test_another_seed_gives_another_world() -> None:
    first = {step.identity for step in valid(World(WorldConfig(seed=1, size=2_000), RUN))}
    second = {step.identity for step in valid(World(WorldConfig(seed=2, size=2_000), RUN))}
    assert not first & second


def test_a_small_world_is_the_beginning_of_a_large_one() -> None:
    small = list(World(WorldConfig(seed=5, size=1_500), RUN))
    large = list(islice(World(WorldConfig(seed=5, size=6_000), RUN), len(small)))
    assert small == large


def test_event_ids_belong_to_the_world_and_not_to_the_run() -> None:
    config = WorldConfig(seed=5, size=1_500)
    here = [step.identity.event_id for step in valid(World(config, RUN)) if step.identity]
    there = [step.identity.event_id for step in valid(World(config, OTHER_RUN)) if step.identity]
    assert here == there


def test_mess_leaves_the_rows_of_the_world_as_they_are() -> None:
    clean_config = WorldConfig(seed=5, size=4_000, mess=NO_MESS)
    clean = {step.identity: json.loads(step.envelope)["payload"] for step in valid(World(clean_config, RUN))}
    sent = [step for step in valid(World(WorldConfig(seed=5, size=4_000), RUN)) if "large_payload" not in step.notes]
    messy = {step.identity: json.loads(step.envelope)["payload"] for step in sent}
    assert all(clean[identity] == messy[identity] for identity in clean.keys() & messy.keys())
    assert len(clean.keys() ^ messy.keys()) < 80, "only the last events differ, because some come late or never"
    assert all(step.kind is EdgeKind.VALID for step in World(clean_config, RUN) if isinstance(step, EdgeSend))


@pytest.mark.parametrize("size", [1, 2_000, 20_000])
def test_size_is_the_exact_number_of_distinct_valid_events(size: int) -> None:
    identities = [step.identity for step in valid(World(WorldConfig(seed=9, size=size), RUN))]
    assert len(identities) == len(set(identities)) == size


def test_memory_does_not_grow_with_size() -> None:
    stream = World(WorldConfig(seed=4, size=300_000), RUN).play()
    tracked, pending = {}, {}
    for _ in stream:
        if stream.valid not in tracked and stream.valid in {20_000, 100_000, 200_000, 300_000}:
            tracked[stream.valid], pending[stream.valid] = stream.tracked_peak, stream.pending_peak
    assert tracked[200_000] <= 1.1 * tracked[20_000]
    assert pending[300_000] <= 1.25 * pending[100_000], "from one day to three, the heap itself stays"
    assert pending[300_000] < 500


def test_generation_is_faster_than_ten_thousand_events_a_second() -> None:
    def rate() -> float:
        start = time.process_time()
        count = sum(1 for _ in World(WorldConfig(seed=4, size=20_000), RUN))
        return count / (time.process_time() - start)

    assert max(rate() for _ in range(3)) > 10_000


@pytest.mark.parametrize("size", [2_000, 20_000, SIZE])
def test_triggers_are_nineteen_in_a_hundred_events(size: int, sent: list[EdgeSend]) -> None:
    steps = sent[:size]
    assert sum(step.is_trigger for step in steps) / len(steps) == pytest.approx(0.19, abs=0.01)


def test_envelopes_have_the_contract_s_form(sent: list[EdgeSend]) -> None:
    forms = {
        "event_id": r"[0-9a-f]{64}",
        "event_type": r"[A-Za-z0-9_]{1,256}",
        "ts_utc": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
        "manifest_fingerprint": r"[0-9a-f]{64}",
        "parameter_hash": r"[0-9a-f]{64}",
        "seed": r"[0-9]+",
        "scenario_id": r"baseline_v1",
        "run_id": "a{32}",
        "platform_run_id": r"platform_20260105T000000Z",
        "scenario_run_id": "a{32}",
        "emitted_at_utc": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
        "producer": r"world_streamer",
    }
    for step in sent[:5_000]:
        envelope = json.loads(step.envelope)
        payload = envelope.pop("payload")
        assert envelope.keys() == forms.keys()
        assert all(re.fullmatch(form, envelope[name]) for name, form in forms.items()), envelope
        assert payload["ts_utc"] == envelope["ts_utc"] == format_utc(step.ts_us)
        assert envelope["ts_utc"] <= envelope["emitted_at_utc"] == format_utc(step.at_us)


def test_payloads_hold_no_truth_no_pins_and_no_inexact_id(payloads: dict[str, list[dict[str, object]]]) -> None:
    for rows in payloads.values():
        for row in rows:
            assert not row.keys() & (LEAK_COLUMNS | PINS)
            for name, value in row.items():
                if name.endswith("_id"):
                    assert isinstance(value, str) and value.isdigit()
                if isinstance(value, int):
                    assert abs(value) <= 2**53


def test_no_envelope_names_a_fraud_kind_or_a_campaign(sent: list[EdgeSend]) -> None:
    words = re.compile(rb"fraud_flag|campaign|CARD_TESTING|ATO\b|ABUSE|COLLUSION|truth", re.IGNORECASE)
    assert not any(words.search(step.envelope) for step in sent)


def test_event_id_is_the_recipe_over_the_primary_key(sent: list[EdgeSend]) -> None:
    pins = pins_of(WorldConfig(seed=3, size=SIZE))
    keys = {
        "s3_event_stream_with_fraud_6B": ("flow_id", "event_seq"),
        "s3_flow_anchor_with_fraud_6B": ("flow_id",),
        "arrival_events_5B": ("merchant_id", "arrival_seq"),
        "s1_arrival_entities_6B": ("merchant_id", "arrival_seq"),
    }
    for step in sent[:500]:
        envelope = json.loads(step.envelope)
        key = tuple(envelope["payload"][name] for name in keys[step.event_type])
        assert envelope["event_id"] == event_id_of(step.event_type, key, pins)


def test_every_event_finds_its_context(sent: list[EdgeSend], payloads: dict[str, list[dict[str, object]]]) -> None:
    anchors = {row["flow_id"]: (row["merchant_id"], row["arrival_seq"]) for row in payloads["s3_flow_anchor_with_fraud_6B"]}
    arrivals = {(row["merchant_id"], row["arrival_seq"]) for row in payloads["arrival_events_5B"]}
    entities = {(row["merchant_id"], row["arrival_seq"]) for row in payloads["s1_arrival_entities_6B"]}
    lost = {row["flow_id"] for row in payloads["s3_event_stream_with_fraud_6B"]} - anchors.keys()
    never = {step.flow_id for step in sent if "missing_context" in step.notes}
    assert never <= lost
    assert len(lost - never) < 20, "beside those that never come, only anchors that are late at the end of the stream"
    assert len(set(anchors.values()) - arrivals) + len(set(anchors.values()) - entities) < 30


def test_anchors_come_shortly_before_or_after_their_trigger(sent: list[EdgeSend]) -> None:
    anchors = {step.flow_id: step.at_us for step in sent if step.event_type == "s3_flow_anchor_with_fraud_6B"}
    plain = [step for step in sent if step.is_trigger and step.flow_id in anchors and step.at_us == step.ts_us]
    near = [step for step in plain if "late_context" not in step.notes]
    lags_ms = [(anchors[step.flow_id] - step.at_us) / 1_000 for step in near]
    assert min(lags_ms) >= -300 and max(lags_ms) <= 300
    assert sum(lag > 0 for lag in lags_ms) / len(lags_ms) == pytest.approx(0.35, abs=0.02)
    late_s = [(anchors[step.flow_id] - step.at_us) / 1e6 for step in plain if "late_context" in step.notes]
    assert late_s and min(late_s) > 120, "a late context is beyond the allowed lateness"


def test_flows_speak_in_order_of_their_own_time(payloads: dict[str, list[dict[str, object]]]) -> None:
    flows: dict[object, list[dict[str, object]]] = defaultdict(list)
    for row in payloads["s3_event_stream_with_fraud_6B"]:
        flows[row["flow_id"]].append(row)
    for rows in flows.values():
        rows.sort(key=lambda row: str(row["event_seq"]))
        times = [str(row["ts_utc"]) for row in rows]
        assert times == sorted(times)
        kinds = [row["event_type"] for row in rows]
        assert kinds[0] == "AUTH_REQUEST" or rows[0]["event_seq"] != 1
        assert len({row["currency"] for row in rows}) == 1
        assert not {"REVERSAL", "CLEARING"} <= set(kinds)


def test_amounts_follow_the_declared_mixture(payloads: dict[str, list[dict[str, object]]]) -> None:
    requests = [row for row in payloads["s3_event_stream_with_fraud_6B"] if row["event_type"] == "AUTH_REQUEST"]
    minor = sorted(row["amount_minor"] for row in requests if isinstance(row["amount_minor"], int))
    points = {199, 499, 999, 1_499, 1_999, 2_999, 4_999, 9_999}
    assert minor[0] >= 1
    assert sum(amount in points for amount in minor) / len(minor) == pytest.approx(0.32, abs=0.03)
    assert 1_000 < statistics.median(minor) < 2_500
    assert minor[int(len(minor) * 0.95)] / statistics.median(minor) > 4


def test_answers_take_their_declared_time(payloads: dict[str, list[dict[str, object]]]) -> None:
    at: dict[tuple[object, object], int] = {}
    for row in payloads["s3_event_stream_with_fraud_6B"]:
        at[row["flow_id"], row["event_type"]] = parse_utc(str(row["ts_utc"]))
    direct = [
        (instant - at[flow, "AUTH_REQUEST"]) / 1e6
        for (flow, kind), instant in at.items()
        if kind == "AUTH_RESPONSE" and (flow, "STEP_UP_CHALLENGE") not in at and (flow, "AUTH_REQUEST") in at
    ]
    assert statistics.median(direct) == pytest.approx(3.0, rel=0.1), "exp(1.10) seconds"
    assert max(direct) <= 180.001
    clearing = [
        (instant - at[flow, "AUTH_RESPONSE"]) / 1e6
        for (flow, kind), instant in at.items()
        if kind == "CLEARING" and (flow, "AUTH_RESPONSE") in at
    ]
    assert 1_800 < statistics.mean(clearing) < 3_500 and max(clearing) <= 21_600.001
    counts = Counter(kind for _, kind in at)
    requests = counts["AUTH_REQUEST"]
    assert counts["REFUND"] / requests == pytest.approx(0.02, abs=0.007)
    assert counts["REVERSAL"] / requests == pytest.approx(0.004, abs=0.002)
    assert 0.02 < counts["STEP_UP_CHALLENGE"] / requests < 0.05


def test_merchants_follow_a_capped_zipf_law(payloads: dict[str, list[dict[str, object]]]) -> None:
    arrivals = Counter(row["merchant_id"] for row in payloads["arrival_events_5B"])
    shares = [count / arrivals.total() for _, count in arrivals.most_common()]
    assert 0.06 <= shares[0] <= 0.14
    assert 0.4 < sum(shares[:50]) < 0.85
    assert len(arrivals) > 500


def test_a_hot_merchant_takes_its_share() -> None:
    config = WorldConfig(seed=3, size=20_000, hot_merchant_share=0.35)
    arrivals: Counter[str] = Counter()
    for step in valid(World(config, RUN)):
        if step.event_type == "arrival_events_5B":
            arrivals[json.loads(step.envelope)["payload"]["merchant_id"]] += 1
    assert arrivals.most_common(1)[0][1] / arrivals.total() == pytest.approx(0.35, abs=0.05)


def test_demand_classes_get_their_share_and_whole_days() -> None:
    merchants = Merchants(WorldConfig(seed=3, size=1))
    share: Counter[str] = Counter()
    for merchant, weight in zip(merchants.all, merchants.shares, strict=True):
        share[merchant.demand.name] += weight  # type: ignore[assignment]  # values of several types, on purpose
    for demand in DEMAND_CLASSES:
        assert len(demand.hours) == 24 and statistics.mean(demand.hours) == pytest.approx(1)
        assert share[demand.name] == pytest.approx(demand.share, abs=0.01)


def test_entities_fan_out_and_sessions_hold_one_to_four_arrivals(payloads: dict[str, list[dict[str, object]]]) -> None:
    rows = payloads["s1_arrival_entities_6B"]
    per_party: dict[str, dict[object, set[object]]] = {name: defaultdict(set) for name in ("account_id", "device_id")}
    per_device: dict[object, set[object]] = defaultdict(set)
    for row in rows:
        for name, seen in per_party.items():
            if name in row:
                seen[row["party_id"]].add(row[name])
        if "device_id" in row:
            per_device[row["device_id"]].add(row["party_id"])
    for seen in per_party.values():
        busy = [len(ids) for ids in seen.values()]
        assert 1.05 < statistics.mean(busy) < 2.5
    assert sum(len(parties) > 1 for parties in per_device.values()) > 20, "devices are shared"
    sessions = Counter(row["session_id"] for row in rows)
    lengths = Counter(sessions.values())
    assert {1, 2, 3, 4} <= lengths.keys()
    assert sum(count for length, count in lengths.items() if length > 4) < 0.02 * len(sessions), "only bursts are longer"
    absent = sum("instrument_id" not in row for row in rows), sum("device_id" not in row for row in rows)
    assert all(0 < count < len(rows) for count in absent)


def test_traces_are_one_per_event_and_one_in_n_is_sampled(sent: list[EdgeSend]) -> None:
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", step.traceparent) for step in sent)
    assert len({step.traceparent for step in sent}) == len(sent)
    assert sum(step.traceparent.endswith("-01") for step in sent) / len(sent) == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"size": 0},
        {"density": 0},
        {"fraud_share": 0.9},
        {"hot_merchant_share": 0.5},
        {"parameter_hash": "ABC"},
        {"start_utc": "2026-01-05"},
    ],
)
def test_a_config_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        WorldConfig(**{"seed": 1, "size": 10, **wrong})  # type: ignore[arg-type]  # values of several types, on purpose
