"""Bytes that the topics can carry: a limit of the log, whoever sends (MSK Serverless)."""

import time
from collections.abc import Callable

from ingress.bus import TOPICS
from ingress.rate import TokenBucket

# MSK Serverless takes 5 MB/s a partition. Keys are spread by a hash, and the fullest of six partitions stays below its own limit
# while the topic has less than four fifths of all.
PARTITION_BYTES_PER_S = 5_000_000
_SHARE = 0.8


class Capacity:
    """One bucket of bytes a topic, in this process."""

    def __init__(self, share: float = _SHARE, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = {
            topic.name: TokenBucket(
                topic.partitions * PARTITION_BYTES_PER_S * share, topic.partitions * PARTITION_BYTES_PER_S * share, clock
            )
            for topic in TOPICS
        }

    def take(self, topic: str, size: int) -> int:
        """0 if `size` bytes may go to `topic` now; else the whole seconds after which they may be offered again."""
        return self._buckets[topic].take(size)
