"""A faust agent as its documentation writes it: one event after the other, each with all of its law."""

from __future__ import annotations

from faust.types import StreamT

from benchmarks.contenders.faust_app import Ledger, make_app
from benchmarks.contenders.place import from_environment
from benchmarks.contenders.plain_store import apply_one, left_behind
from benchmarks.law import Output, judge

place = from_environment()
app = make_app(place)
ledger = Ledger(place)
postings = app.topic(place.postings, key_serializer="raw", value_serializer="raw")


@app.agent(app.topic(place.payments))
async def post(stream: StreamT[bytes]) -> None:
    """Post each payment to its account."""
    await ledger.open()
    for left in await left_behind(ledger.store, list(place.stops)):
        await publish(left)
    async for event in stream.events():
        message = event.message
        if not ledger.wants(message.partition, message.offset):
            continue
        async with ledger.in_hand:
            judged = judge(message.partition, message.offset, message.key, message.value, message.headers)
            made = await apply_one(ledger.store, judged, ledger.published.get(message.partition, 0))
            ledger.stands[message.partition] = message.offset + 1
            if made is not None:
                await publish(made)


async def publish(made: Output) -> None:
    """Send, and wait for the bus."""
    sent = await postings.send(key=made.key, value=made.value, partition=made.partition, headers=made.headers)
    await sent
    ledger.published[made.partition] = made.offset + 1


@app.on_before_shutdown.connect
async def closed(*_: object, **__: object) -> None:
    """The last marks."""
    await ledger.close()


if __name__ == "__main__":
    app.main()
