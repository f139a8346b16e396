"""Instants as the platform writes them: RFC 3339, UTC, exactly six fractional digits (domain.md 2.1, 2.2)."""

from datetime import UTC, datetime


def format_instant(moment: datetime) -> str:
    """The one spelling of an aware datetime. Raises ValueError for a naive one: a guessed zone is a silent default."""
    if moment.tzinfo is None:
        raise ValueError(f"moment={moment.isoformat()} has no time zone: pass an aware datetime")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_instant(text: str) -> datetime:
    """The aware datetime of a spelling that `fields.Instant` accepts. Raises ValueError for a date that no calendar has."""
    return datetime.fromisoformat(text)
