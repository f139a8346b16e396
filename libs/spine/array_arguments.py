"""Arrays as arguments of a statement, without a look at what each element might be."""

from typing import Any

from asyncpg.protocol import protocol

_CHECKS = ("IterableABC", "SizedABC")


class ArrayCheckError(Exception):
    """This asyncpg does not decide by these names what an array is: its version is not the pinned one."""


def only_sequences_nest() -> None:
    """Let asyncpg take lists and tuples, and nothing else, for arrays.

    To find out how deep an array nests it asks of every element whether it is iterable and sized, through two abstract base classes: two
    thirds of what an array argument costs, and an argument here has a thousand elements, none of which is an array. Raises ArrayCheckError
    where a new version does it another way: then the figures of docs/performance.md are to be taken again, and this may go.
    """
    names: dict[str, Any] = vars(protocol)
    if missing := [name for name in _CHECKS if name not in names]:
        raise ArrayCheckError(f"asyncpg.protocol.protocol has no {', '.join(missing)}: see docs/decisions/2026-11-24-hot-path.md")
    for name in _CHECKS:
        setattr(protocol, name, (list, tuple))
