"""Who outweighs whom, told without the table that decides it, and from which instant a label is known (domain.md 8.7)."""

import pytest

from label_store.policy import Resolution, resolve
from label_store.store import Label
from laws.labels import LabelType, SourceType
from tests.services import facts
from tests.services.bench import INSTANT
from tests.services.fake_state import RUN

EARLY, LATE = "2026-01-05T00:00:00.000000Z", "2026-01-09T00:00:00.000000Z"


def label(number: int, value: str, source: SourceType, observed: str) -> Label:
    kind = LabelType.FRAUD_DISPOSITION
    return Label(f"{number:032x}", RUN, facts.SOURCE, kind, value, INSTANT, observed, source, None, "0" * 64, b"")


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (SourceType.HUMAN, SourceType.EXTERNAL),
        (SourceType.HUMAN, SourceType.AUTO),
        (SourceType.EXTERNAL, SourceType.AUTO),
        (SourceType.EXTERNAL, SourceType.SYSTEM),
    ],
)
def test_a_stronger_source_outweighs_a_later_weaker_one(stronger: SourceType, weaker: SourceType) -> None:
    said = [label(1, "LEGIT_CONFIRMED", stronger, EARLY), label(2, "FRAUD_CONFIRMED", weaker, LATE)]
    assert resolve(said, LATE).label_value == "LEGIT_CONFIRMED"


@pytest.mark.parametrize("source", list(SourceType))
def test_of_one_source_the_latest_observation_holds(source: SourceType) -> None:
    said = [label(2, "LEGIT_CONFIRMED", source, EARLY), label(1, "FRAUD_CONFIRMED", source, LATE)]
    assert resolve(said, LATE).label_value == "FRAUD_CONFIRMED"
    assert resolve(said, EARLY).label_value == "LEGIT_CONFIRMED", "what was known then"


def test_a_label_is_known_from_the_instant_of_its_observation() -> None:
    said = [label(1, "FRAUD_CONFIRMED", SourceType.HUMAN, EARLY)]
    assert resolve(said, EARLY).outcome is Resolution.RESOLVED
    assert resolve(said, "2026-01-04T23:59:59.999999Z").outcome is Resolution.NOT_FOUND
