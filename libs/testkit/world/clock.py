"""World time: integer microseconds since 1970-01-01T00:00:00Z, and the one text form of it (domain.md 2.1)."""

from datetime import date, datetime, timedelta
from functools import lru_cache

US_PER_MS = 1_000
US_PER_S = 1_000_000
US_PER_HOUR = 3_600 * US_PER_S
US_PER_DAY = 24 * US_PER_HOUR

_EPOCH_DAY = date(1970, 1, 1)
_WIRE_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
_EPOCH = datetime(1970, 1, 1)  # both sides of the subtraction are UTC without a zone object


def parse_utc(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 instant with exactly six fraction digits and Z.

    Raises ValueError for every other form.
    """
    if len(text) != len("2026-01-05T00:00:00.000000Z"):
        raise ValueError(f"not an instant with six fraction digits: {text!r}")
    return (datetime.strptime(text, _WIRE_FORM) - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=64)  # a stream touches a few neighbouring days at a time
def _day_text(day: int) -> str:
    return (_EPOCH_DAY + timedelta(days=day)).isoformat()


def format_local(instant_us: int) -> str:
    """The wall-clock reading without a zone: YYYY-MM-DDThh:mm:ss.ffffff."""
    day, rest = divmod(instant_us, US_PER_DAY)
    seconds, fraction = divmod(rest, US_PER_S)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_day_text(day)}T{hour:02d}:{minute:02d}:{second:02d}.{fraction:06d}"


def format_utc(instant_us: int) -> str:
    """RFC 3339 UTC with exactly six fraction digits and Z (domain.md 2.1)."""
    return format_local(instant_us) + "Z"
