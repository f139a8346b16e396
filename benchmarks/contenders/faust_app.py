"""What both faust contenders share: the application, and the store that its agents work on."""

from __future__ import annotations

import asyncio
import tempfile

import asyncpg
import faust
import mode.loop

from benchmarks.contenders.place import Place
from benchmarks.contenders.plain_store import MARK, Connection


def make_app(place: Place) -> faust.App:
    """An application without what it does not need here: no web server, no tables, no topic of its own."""
    mode.loop.use("uvloop")
    return faust.App(
        place.group,
        broker=f"kafka://{place.bootstrap}",
        datadir=tempfile.mkdtemp(prefix="faust-"),
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        producer_acks=-1,
        # A read of more than one batch ahead, so that nobody waits for the broker.
        broker_max_poll_records=2000,
        stream_buffer_maxsize=8192,
    )


class Ledger:
    """The connection, and what is kept between two events or batches."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.published: dict[int, int] = {}
        self.stands: dict[int, int] = {}
        self.in_hand = asyncio.Lock()
        """Held around one event or batch."""
        self.store: Connection

    async def open(self) -> None:
        """Connect, and learn where the store stands."""
        self.store = await asyncpg.connect(self._place.dsn)
        rows = await self.store.fetch("SELECT partition, next_offset FROM position")
        self.stands = {row["partition"]: row["next_offset"] for row in rows}

    async def close(self) -> None:
        """The last marks, once what is in hand is done. Nothing is taken in hand any more: faust cancels agents where they are."""
        await self.in_hand.acquire()
        await self.store.execute(MARK, list(self.published), list(self.published.values()))
        await self.store.close()

    def wants(self, partition: int, offset: int) -> bool:
        """Whether a record is neither done already nor beyond what is measured."""
        return self.stands[partition] <= offset < self._place.stops[partition]
