"""The same work for many items, so many of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


async def spread(work: Callable[[Item], Awaitable[Done]], items: Sequence[Item], width: int) -> list[Done]:
    """What `work` says of each item, in their order. The first that raises ends the others.

    `width` tasks share the items, not one task an item: a thousand tasks that wait for thirty connections would use up the time of
    their requests in the queue.
    """
    if len(items) == 1:
        return [await work(items[0])]
    answers: dict[int, Done] = {}
    left = iter(enumerate(items))

    async def take() -> None:
        for index, item in left:
            answers[index] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(items))):
            group.create_task(take())
    return [answers[index] for index in range(len(items))]
