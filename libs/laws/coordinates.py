"""Where a fact stands: coordinates, ranges and bases (architecture.md, origin_offset and ranges; domain.md 3.1)."""

from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from laws.fields import Hex64, Label, OffsetText
from laws.ids import plain_digest

OFFSET_KIND = "kafka_offset"


class Coordinate(NamedTuple):
    """origin_offset of one record. A recreated cluster or topic restarts at offset 0, so its ids are part of the place."""

    cluster_id: str
    topic_id: str
    topic: str
    partition: int
    offset: int

    def ref(self) -> "OriginOffset":
        """The same place as it is written in JSON: the offset as a string."""
        return OriginOffset(self.cluster_id, self.topic_id, self.topic, self.partition, str(self.offset))


class OriginOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coordinate inside a payload or an evidence file."""

    cluster_id: Label
    topic_id: Label
    topic: Label
    partition: Annotated[int, Meta(ge=0)]
    offset: OffsetText


class OffsetRange(NamedTuple):
    """Half-open range [start, end) of one partition."""

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int


class PartitionOffset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a basis: the next offset to read."""

    partition: Annotated[int, Meta(ge=0)]
    offset: OffsetText


class OffsetBasis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """eb_offset_basis: the exclusive-next offsets up to which evidence was read (domain.md 3.1)."""

    stream: Label
    offset_kind: Label
    offsets: Annotated[tuple[PartitionOffset, ...], Meta(min_length=1)]
    basis_digest: Hex64


def offset_basis(stream: str, offsets: dict[int, int]) -> OffsetBasis:
    """The basis of `stream` (topics joined by '+') with `offsets` as {partition: next offset}; sorted, so its digest is stable."""
    entries = tuple(PartitionOffset(partition, str(offset)) for partition, offset in sorted(offsets.items()))
    digest = plain_digest(
        "fp.eb_offset_basis.v1",
        {"stream": stream, "offset_kind": OFFSET_KIND, "offsets": [[e.partition, e.offset] for e in entries]},
    )
    return OffsetBasis(stream, OFFSET_KIND, entries, digest.hex())
