"""Partitions against Kafka's own vectors and another client's implementation."""

import pytest
from aiokafka.partitioner import murmur2 as unsigned_murmur2
from hypothesis import given
from hypothesis import strategies as st

from laws.partition import murmur2, partition_for

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
KAFKA_VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "expected"), KAFKA_VECTORS)
def test_murmur2_gives_kafka_s_own_numbers(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


@given(st.binary(max_size=80))
def test_murmur2_equals_another_client_s(key: bytes) -> None:
    signed = murmur2(key)
    assert -(2**31) <= signed < 2**31
    assert signed & 0xFFFFFFFF == unsigned_murmur2(key)


@given(st.binary(max_size=80), st.integers(1, 1000))
def test_partition_is_the_default_partitioner_s(key: bytes, partitions: int) -> None:
    assert partition_for(key, partitions) == (unsigned_murmur2(key) & 0x7FFFFFFF) % partitions


def test_a_negative_hash_loses_its_sign_bit_and_is_not_negated() -> None:
    assert partition_for(b"21", 6) == (-973932308 & 0x7FFFFFFF) % 6 != 973932308 % 6


@pytest.mark.parametrize("partitions", [0, -1])
def test_a_topic_without_partitions_is_refused(partitions: int) -> None:
    with pytest.raises(ValueError, match="at least one partition"):
        partition_for(b"key", partitions)
