"""Constrained field types shared by the envelope and every contract (domain.md 2.1, appendix D)."""

from typing import Annotated

from msgspec import Meta

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{32}\\Z")]
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
EventId = Annotated[str, Meta(min_length=1, max_length=256)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
SchemaVersion = Annotated[str, Meta(min_length=1, max_length=64)]
PlatformRunId = Annotated[str, Meta(pattern="^platform_[0-9]{8}T[0-9]{6}Z\\Z")]
# RFC 3339 in UTC with exactly six fractional digits: two spellings of one instant would be two payload hashes.
Instant = Annotated[
    str,
    Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z\Z"),
]
# Identifiers that may exceed 2^53 travel as decimal strings: a JSON number would be rounded on its way (architecture.md, Exact numbers).
UInt64Text = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,19})\\Z")]
OffsetText = Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,18})\\Z")]
# ISO 4217 alphabetic code.
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}\\Z")]
# Money is integer minor units; the bound keeps every amount, and any sum of a few thousand of them, exact as a JSON number.
MinorUnits = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
