"""A faust agent that takes its events by the thousand, with the same set-based transaction and bulk publishing as the floor's."""

from __future__ import annotations

from typing import Any

from faust import Stream
from faust.types import StreamT

from benchmarks.contenders.faust_app import Ledger, make_app
from benchmarks.contenders.outgoing import make_producer, publish
from benchmarks.contenders.place import from_environment
from benchmarks.contenders.plain_store import apply_batch, left_behind, ranges_of
from benchmarks.law import judge

place = from_environment()
app = make_app(place)
ledger = Ledger(place)

# How long it waits for a batch to fill, each time. Nothing is added while the last one is worked on, so a shorter wait makes batches of few
# events; a longer one is latency.
_WITHIN = 0.05


@app.agent(app.topic(place.payments))
async def post(stream: StreamT[bytes]) -> None:
    """Post payments to their accounts."""
    assert isinstance(stream, Stream)  # the interface that agents are declared with lacks take_events
    await ledger.open()
    producer = make_producer(place.bootstrap)
    await producer.start()
    try:
        ledger.published.update(await publish(producer, place.postings, await left_behind(ledger.store, list(place.stops))))
        async for events in stream.take_events(place.batch, within=_WITHIN):
            messages: list[Any] = [event.message for event in events if ledger.wants(event.message.partition, event.message.offset)]
            batch = [judge(message.partition, message.offset, message.key, message.value, message.headers) for message in messages]
            if not batch:
                continue
            async with ledger.in_hand:
                ranges = ranges_of(batch)
                outputs = await apply_batch(ledger.store, ranges, batch, ledger.published)
                ledger.stands.update((partition, found.stop) for partition, found in ranges.items())
                ledger.published.update(await publish(producer, place.postings, outputs))
    finally:
        await producer.stop()


@app.on_before_shutdown.connect
async def closed(*_: object, **__: object) -> None:
    """The last marks."""
    await ledger.close()


if __name__ == "__main__":
    app.main()
