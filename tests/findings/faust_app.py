"""A faust application as its own documentation would have it; a process of its own: `python faust_app.py <settings as JSON> worker ..`.

Every message that was handled is a line in a file, written when its handler is done.
"""

import asyncio
import json
import sys
from pathlib import Path

import faust
from faust.types import StreamT

settings = json.loads(sys.argv.pop(1))
app = faust.App(
    settings["group"],
    broker=f"kafka://{settings['bootstrap']}",
    datadir=settings["folder"],
    value_serializer="raw",
    topic_partitions=1,
    web_enabled=False,
    # Both are the smallest that they may be, so that nobody waits longer than needed for a dead member and for a commit.
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
    broker_commit_interval=0.2,
    consumer_auto_offset_reset="earliest",
)


async def handle(message: bytes) -> None:
    """Trouble comes to a process that is told to have it, for messages that are named after it."""
    name = message.decode()
    if settings["trouble"] and name.startswith("raise"):
        raise ValueError(f"{name} can't be handled")
    if settings["trouble"] and name.startswith("slow"):
        await asyncio.sleep(3600)
    with Path(settings["handled"]).open("a") as lines:
        lines.write(f"{name}\n")


@app.agent(app.topic(settings["one_by_one"]))
async def one_by_one(stream: StreamT[bytes]) -> None:
    """Concurrency 1."""
    async for message in stream:
        await handle(message)


@app.agent(app.topic(settings["two_at_once"]), concurrency=2)
async def two_at_once(stream: StreamT[bytes]) -> None:
    """Concurrency 2."""
    async for message in stream:
        await handle(message)


if __name__ == "__main__":
    app.main()
