"""The label catalogue: types, values, sources and their precedence (domain.md 8.6, 8.7)."""

from enum import StrEnum


class LabelType(StrEnum):
    """What is asserted about a subject."""

    FRAUD_DISPOSITION = "fraud_disposition"
    CHARGEBACK_STATUS = "chargeback_status"
    ACCOUNT_TAKEOVER = "account_takeover"


LABEL_VALUES = {
    LabelType.FRAUD_DISPOSITION: frozenset({"FRAUD_CONFIRMED", "FRAUD_SUSPECTED", "LEGIT_CONFIRMED"}),
    LabelType.CHARGEBACK_STATUS: frozenset({"CHARGEBACK", "NO_CHARGEBACK", "PENDING"}),
    LabelType.ACCOUNT_TAKEOVER: frozenset({"ATO_CONFIRMED", "ATO_SUSPECTED", "ATO_NOT_CONFIRMED"}),
}


class SourceType(StrEnum):
    """Who asserts. SYSTEM ranks with AUTO (domain.md, appendix B)."""

    HUMAN = "HUMAN"
    EXTERNAL = "EXTERNAL"
    AUTO = "AUTO"
    SYSTEM = "SYSTEM"


# A larger number wins: human > external > automated or system (domain.md 8.7, DOC precedence).
SOURCE_PRECEDENCE = {SourceType.HUMAN: 2, SourceType.EXTERNAL: 1, SourceType.AUTO: 0, SourceType.SYSTEM: 0}


def check_label(label_type: LabelType, label_value: str) -> None:
    """Raises ValueError, naming the field, when the catalogue does not have the value for the type."""
    if label_value not in LABEL_VALUES[label_type]:
        raise ValueError(f"label_value={label_value!r} is not one of {sorted(LABEL_VALUES[label_type])} for label_type={label_type}")
