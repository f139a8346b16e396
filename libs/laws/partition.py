"""Which partition a key lives on, computed by us and set explicitly by every producer.

The numbers are those of Kafka's own Java client (org.apache.kafka.common.utils.Utils.murmur2 and
BuiltInPartitioner.partitionForKey), so that a foreign client with its default partitioner puts a key where we look for it
(architecture.md, "Settled questions": the dedupe tuple).
"""

import struct
from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF  # Java's int arithmetic wraps at 32 bits; Python's does not
_POSITIVE: Final = 0x7FFFFFFF  # Utils.toPositive clears the sign; abs() would differ for every negative hash

_KEYS: Final = 32768
"""Keys whose partition is remembered: the copies of one event and the events of one flow follow each other closely, and the
hash costs some microseconds. Bounded, about 8 MB."""


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 as the Java client returns it: a signed integer."""
    size = len(data)
    words, tail = divmod(size, 4)
    value = _SEED ^ size
    for word in struct.unpack_from(f"<{words}I", data):
        mixed = word * _MIX & _MASK
        value = (value * _MIX & _MASK) ^ ((mixed ^ mixed >> 24) * _MIX & _MASK)
    if tail:
        value = (value ^ int.from_bytes(data[-tail:], "little")) * _MIX & _MASK
    value = (value ^ value >> 13) * _MIX & _MASK
    value ^= value >> 15
    return value - (1 << 32) if value > _POSITIVE else value


@lru_cache(maxsize=_KEYS)
def partition_for(key: bytes, partitions: int) -> int:
    """The partition of a key among `partitions`: toPositive(murmur2(key)) % partitions.

    Raises ValueError if there is no partition to choose.
    """
    if partitions < 1:
        raise ValueError(f"a topic has at least one partition, not {partitions}")
    return (murmur2(key) & _POSITIVE) % partitions
