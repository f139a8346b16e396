"""Ending a task for certain."""

import asyncio
from typing import Any

from ingress.logs import log

# A client that is being closed ends within a part of it.
_PATIENCE_S = 0.5


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancels a task until it has ended.

    Once is not enough: a client of the bus that closes in the task takes the cancel for that of its own tasks, and the task goes on as if
    nobody had told it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_PATIENCE_S)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_failed", cause=f"{type(error).__name__}: {error}")
