"""The garbage collector of a process that works in batches."""

import gc

# A batch makes some ten thousand objects that are gone with it, without a cycle among them. At Python's threshold of 700 the collector
# looks at each of them several times, which was a quarter of all CPU; at this one it runs about once in a few batches.
_GARBAGE_AFTER = 100_000


def tune_garbage_collection() -> None:
    """What was loaded at the start stays for ever: the collector never looks at it again, and seldom at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER, 20, 20)
