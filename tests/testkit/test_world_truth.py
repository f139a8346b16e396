"""The truth stands beside the stream, is known without being kept, and reaches the platform only as signals and labels."""

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.world import (
    EdgeKind,
    EdgeSend,
    ExternalSignal,
    FlowIds,
    FraudBook,
    FraudKind,
    Identity,
    Outside,
    RunIds,
    SignalKind,
    TriggerType,
    Truth,
    TruthLabel,
    World,
    WorldConfig,
    decide,
    label_of,
)
from testkit.world.clock import US_PER_DAY, US_PER_HOUR, format_utc, parse_utc

RUN = RunIds("platform_20260105T000000Z", "a" * 32)
CONFIG = WorldConfig(seed=8, size=120_000)
CAMPAIGN_KINDS = {kind for kind in FraudKind if 0 < kind.value < FraudKind.FRIENDLY.value}


class Run:
    """One world played to its end, with what the outside and the book of frauds made of it."""

    def __init__(self) -> None:
        self.world = World(CONFIG, RUN)
        self.triggers: list[EdgeSend] = []
        self.outside = Outside(CONFIG)
        self.book = FraudBook(CONFIG)
        self.on_time: list[ExternalSignal] = []
        for step in self.world:
            self.outside.observe(step)
            self.book.observe(step)
            self.on_time += self.outside.due(step.at_us)
            if isinstance(step, EdgeSend) and step.is_trigger and step.kind is EdgeKind.VALID:
                self.triggers.append(step)
        self.end_us = self.triggers[-1].at_us
        self.pending = self.outside.pending
        self.rest = self.outside.rest()
        self.signals = self.on_time + self.rest


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


@given(
    seed=st.integers(0, 2**64 - 1),
    serial=st.integers(0, 2**40 - 1),
    kind=st.sampled_from(FraudKind),
    campaign=st.integers(0, 2**20 - 1),
)
def test_a_flow_id_tells_its_truth_to_whoever_has_the_seed(seed: int, serial: int, kind: FraudKind, campaign: int) -> None:
    ids = FlowIds(seed)
    flow_id = ids.flow_id(serial, kind, campaign)
    assert 0 <= int(flow_id) < 2**64
    truth = ids.truth_of(flow_id)
    assert (truth.kind, truth.serial) == (kind, serial)
    assert truth.is_campaign == (kind in CAMPAIGN_KINDS)
    assert truth.campaign_id == (f"{kind.name}-{campaign}" if truth.is_campaign else None)


def test_flow_ids_show_nothing_of_the_truth() -> None:
    ids = FlowIds(1)
    honest = [int(ids.flow_id(serial)) for serial in range(4_000)]
    fraud = [int(ids.flow_id(serial, FraudKind.ATO, 3)) for serial in range(4_000)]
    for bit in range(64):
        difference = sum(number >> bit & 1 for number in honest) - sum(number >> bit & 1 for number in fraud)
        assert abs(difference) < 250, "each bit is as likely in both, within five sigma"


@pytest.mark.parametrize("text", ["-1", str(2**64), "abc", ""])
def test_text_that_is_no_flow_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FlowIds(1).truth_of(text)


def test_fraud_has_its_declared_share_and_all_kinds(run: Run) -> None:
    truths = [run.world.truth.truth_of(step.flow_id) for step in run.triggers]
    assert sum(truth.is_campaign for truth in truths) / len(truths) == pytest.approx(CONFIG.fraud_share, rel=0.25)
    assert {truth.kind for truth in truths} == CAMPAIGN_KINDS | {FraudKind.NONE, FraudKind.FRIENDLY}
    assert {truth.label for truth in truths} == set(TruthLabel)
    serials = [truth.serial for truth in truths]
    assert len(set(serials)) == len(serials)


@pytest.mark.parametrize("share", [0.003, 0.025])
def test_the_fraud_share_can_be_declared(share: float) -> None:
    world = World(WorldConfig(seed=2, size=100_000, fraud_share=share), RUN)
    flows = [step.flow_id for step in world if isinstance(step, EdgeSend) and step.is_trigger and step.kind is EdgeKind.VALID]
    assert sum(world.truth.truth_of(flow).is_campaign for flow in flows) / len(flows) == pytest.approx(share, rel=0.3)


def test_a_world_without_fraud_has_none() -> None:
    world = World(WorldConfig(seed=2, size=20_000, fraud_share=0, friendly_share=0), RUN)
    kinds = {world.truth.truth_of(step.flow_id).kind for step in world if isinstance(step, EdgeSend) and step.is_trigger}
    assert kinds == {FraudKind.NONE}


def test_fraud_comes_in_bursts(run: Run) -> None:
    campaigns: dict[str, list[int]] = defaultdict(list)
    for step in run.triggers:
        campaign = run.world.truth.truth_of(step.flow_id).campaign_id
        if campaign:
            campaigns[campaign].append(step.ts_us)
    gaps = [later - earlier for times in campaigns.values() for earlier, later in pairwise(times)]
    assert sum(gap < 10 * 60 * 1_000_000 for gap in gaps) / len(gaps) > 0.6


def test_the_book_of_frauds_answers_by_event_and_stays_small(run: Run) -> None:
    for step in run.triggers:
        assert step.identity
        truth, by_event = run.world.truth.truth_of(step.flow_id), run.book.of_event(step.identity.event_id)
        assert truth.kind is by_event.kind
    assert len(run.book) < len(run.triggers) / 50


def test_signals_come_once_in_order_and_after_their_event(run: Run) -> None:
    assert [signal.at_us for signal in run.signals] == sorted(signal.at_us for signal in run.signals)
    assert len({signal.external_ref for signal in run.signals}) == len(run.signals)
    assert all(signal.at_us > signal.ts_us for signal in run.signals)
    assert all(signal.at_us <= run.end_us + US_PER_HOUR for signal in run.on_time)
    assert len(run.rest) == run.pending and run.outside.rest() == []
    triggers = {step.identity for step in run.triggers}
    assert all(signal.about in triggers for signal in run.signals)


def test_disputes_and_what_follows_them_keep_their_delays(run: Run) -> None:
    disputes = {signal.flow_id: signal for signal in run.signals if signal.kind is SignalKind.DISPUTE}
    followed = Counter[str]()
    for signal in run.signals:
        if signal.kind is SignalKind.DISPUTE:
            assert US_PER_HOUR <= signal.at_us - signal.ts_us <= 45 * US_PER_DAY
        elif signal.kind is SignalKind.DETECTION:
            assert signal.at_us - signal.ts_us <= 14 * US_PER_DAY
        else:
            followed[signal.flow_id] += 1
            assert 0 < signal.at_us - disputes[signal.flow_id].at_us <= 90 * US_PER_DAY
    assert followed.keys() == disputes.keys() and set(followed.values()) == {1}, "every dispute ends in one way"


def test_fraud_is_detected_and_disputed_far_more_often(run: Run) -> None:
    fraud = {step.flow_id for step in run.triggers if run.world.truth.truth_of(step.flow_id).is_campaign}
    for kind, least in ((SignalKind.DETECTION, 0.2), (SignalKind.DISPUTE, 0.1)):
        about = [signal.flow_id in fraud for signal in run.signals if signal.kind is kind]
        assert sum(about) / len(fraud) > least
        assert (len(about) - sum(about)) / (len(run.triggers) - len(fraud)) == pytest.approx(0.0025, abs=0.001)


def test_the_outside_gives_the_same_signals_in_any_order_of_observation(run: Run) -> None:
    again = Outside(CONFIG)
    for step in reversed(run.triggers):
        again.observe(step)
    assert sorted(again.rest(), key=lambda signal: signal.external_ref) == sorted(run.signals, key=lambda signal: signal.external_ref)


def subject_of(run: Run, kind: FraudKind) -> tuple[Identity, int]:
    step = next(step for step in run.triggers if run.world.truth.truth_of(step.flow_id).kind is kind)
    assert step.identity
    return step.identity, step.ts_us


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (FraudKind.NONE, [("fraud_disposition", "LEGIT_CONFIRMED")]),
        (FraudKind.FRIENDLY, [("fraud_disposition", "FRAUD_SUSPECTED")]),
        (FraudKind.CARD_TESTING, [("fraud_disposition", "FRAUD_CONFIRMED")]),
        (FraudKind.ATO, [("fraud_disposition", "FRAUD_CONFIRMED"), ("account_takeover", "ATO_CONFIRMED")]),
    ],
)
def test_an_analyst_asserts_the_truth(run: Run, kind: FraudKind, labels: list[tuple[str, str]]) -> None:
    subject, ts_us = subject_of(run, kind)
    learned_us = ts_us + US_PER_DAY
    drafts = decide(subject, ts_us, [TriggerType.EXTERNAL_SIGNAL], run.book, learned_us)
    assert [(draft.label_type, draft.label_value) for draft in drafts] == labels
    for draft in drafts:
        assert draft.about == subject and draft.source_type == "HUMAN"
        assert draft.actor_id and draft.actor_id.startswith("HUMAN::analyst-")
        assert (draft.effective_time, draft.observed_time) == (format_utc(ts_us), format_utc(learned_us))


def test_a_case_about_the_platform_gets_no_label(run: Run) -> None:
    subject, ts_us = subject_of(run, FraudKind.ATO)
    assert decide(subject, ts_us, [TriggerType.ANOMALY, TriggerType.ACTION_FAILURE], run.book, ts_us) == []


def test_chargebacks_and_disputes_assert_their_own_status(run: Run) -> None:
    values = {}
    for signal in run.signals:
        draft = label_of(signal)
        if draft is None:
            assert signal.kind is SignalKind.DETECTION
            continue
        values[signal.kind] = draft.label_value
        assert (draft.label_type, draft.source_type, draft.actor_id) == ("chargeback_status", "EXTERNAL", None)
        assert draft.external_ref == signal.external_ref
        assert draft.effective_time < draft.observed_time
    assert values == {
        SignalKind.DISPUTE: "PENDING",
        SignalKind.CHARGEBACK: "CHARGEBACK",
        SignalKind.DISPUTE_CLOSED: "NO_CHARGEBACK",
    }


def test_an_unknown_event_is_taken_for_honest() -> None:
    assert FraudBook(CONFIG).of_event("0" * 64) == Truth(FraudKind.NONE, None, 0)


@given(st.integers(0, 4_102_444_800_000_000))
def test_instants_survive_their_text(instant_us: int) -> None:
    assert parse_utc(format_utc(instant_us)) == instant_us


@pytest.mark.parametrize("text", ["2026-01-05T00:00:00Z", "2026-01-05T00:00:00.000Z", "2026-01-05 00:00:00.000000Z", ""])
def test_other_forms_of_an_instant_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_utc(text)
