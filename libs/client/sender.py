"""The client: events go to disk first, then to the edge in arrays, until each has its final answer.

Once `send` has returned, the event reaches the edge, whatever happens to this process: killed, it goes on where it was when the next one
opens the same folder. What was on its way then goes twice and is a DUPLICATE there, since an event keeps its event_id.
What the edge refuses for good is kept in `refused.jsonl` with the edge's answer. Nothing is dropped.
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from client.answers import Answer, told
from client.spool import Place, Spool
from client.transport import Transport, credential

# An array of so many costs the edge a fraction of single requests; bodies stay below its 1 MiB.
ARRAY = 500
ARRAY_BYTES = 900_000
# All of them are in refused.jsonl; these are for the eye.
REFUSALS = 20
# An edge that gives no time to come back is asked after 0.1 s, then twice as long each time up to 5 s, and never all clients at once.
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


@dataclass
class Counts:
    """What became of events since the client was opened."""

    admitted: int = 0
    duplicates: int = 0
    refused: int = 0
    retries: int = 0


@dataclass
class _Parcel:
    """Events that go together, oldest first, and where the last of them ends."""

    events: list[bytes]
    end: Place
    done: bool = False


class Client:
    """Use as an async context manager; one folder is one client's. `key` is an API key or a service token."""

    def __init__(self, url: str, key: str, spool: Path | str, *, in_flight: int = 2, fsync: bool = True) -> None:
        self.counts = Counts()
        self._transport = Transport(url, in_flight)
        self._headers = credential(key)
        self._folder = Path(spool)
        self._fsync = fsync
        self._in_flight = in_flight
        self._spool: Spool | None = None
        # Behind it nothing was taken yet. Events stand on disk alone, so an edge that is away for hours costs no memory.
        self._taken = Place(0, 0)
        self._on_the_way: deque[_Parcel] = deque()
        self.refused: deque[str] = deque(maxlen=REFUSALS)
        """The newest refusals, each in a line that says which field of which event, its value, and what to do."""
        self.unanswered = 0
        """Events without a final answer."""
        self._work = asyncio.Event()
        self._settled = asyncio.Condition()
        self._workers: list[asyncio.Task[None]] = []
        self._last: Answer | None = None

    async def __aenter__(self) -> Self:
        """Opens the folder and goes on with what stands in it. Raises SpoolError where another process has it."""
        self._spool = await asyncio.to_thread(lambda: Spool(self._folder, fsync=self._fsync))
        self._taken = self._spool.done
        self.unanswered = sum(1 for _ in self._spool.events(self._taken))
        await self._transport.start()
        self._workers = [asyncio.create_task(self._deliver()) for _ in range(self._in_flight)]
        self._work.set()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stops sending. What has no final answer stays in the folder for the next client; call `flush` to wait for it."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._transport.stop()
        if self._spool is not None:
            self._spool.close()

    async def send(self, *events: bytes) -> None:
        """Keeps the events; they are durable when it returns, and go to the edge by themselves.

        Raises OSError where the disk is full, ValueError where an event is blank: the edge would have nothing to answer to.
        """
        if self._spool is None:
            raise RuntimeError("open the client first: async with Client(..) as client")
        if not all(event.strip() for event in events):
            raise ValueError("an event is blank: give each as the bytes of its envelope")
        # Not in a thread: two sends would race for the same place, and a write of this size costs less than the hand-over.
        self._spool.append(events)
        self.unanswered += len(events)
        self._work.set()

    async def flush(self, within_s: float | None = None) -> None:
        """Returns when every event has its final answer. Raises TimeoutError, with the last answer, where that takes longer."""
        try:
            async with asyncio.timeout(within_s), self._settled:
                await self._settled.wait_for(lambda: self.unanswered == 0)
        except TimeoutError:
            said = "no answer yet" if self._last is None else f"{self._last.status} {self._last.body}"
            raise TimeoutError(f"{self.unanswered} events have no final answer; the last one was {said}") from None

    async def _deliver(self) -> None:
        while True:
            parcel = self._take()
            if parcel is None:
                self._work.clear()
                await self._work.wait()
                continue
            await self._until_final(parcel)
            parcel.done = True
            await self._settle()

    def _take(self) -> _Parcel | None:
        if self._spool is None or self._taken == self._spool.end:
            return None
        parcel, size = _Parcel([], self._taken), 1
        for place, event in self._spool.events(self._taken):
            size += len(event) + 1
            if parcel.events and (len(parcel.events) == ARRAY or size > ARRAY_BYTES):
                break
            parcel.events.append(event)
            parcel.end = place
        if not parcel.events:
            return None  # the end of a segment, behind which the next one is still empty
        self._taken = parcel.end
        self._on_the_way.append(parcel)
        return parcel

    async def _until_final(self, parcel: _Parcel) -> None:
        events, pause = parcel.events, _FIRST_PAUSE_S
        while events:
            answers = await self._push(events)
            again, waits = [], 0.0
            for event, answer in zip(events, answers, strict=True):
                self._last = answer
                if answer.is_final:
                    self._count(event, answer)
                else:
                    again.append(event)
                    waits = max(waits, answer.retry_after_s or 0.0)
            if again:
                self.counts.retries += len(again)
                # Jitter upwards only: who comes before Retry-After is over is sent away once more.
                await asyncio.sleep((waits or pause) * (1 + random.random() / 2))  # noqa: S311  spreads load, hides nothing
                pause = min(_LONGEST_PAUSE_S, pause * 2) if len(again) == len(events) else _FIRST_PAUSE_S
            events = again

    async def _push(self, events: Sequence[bytes]) -> list[Answer]:
        answers = await self._transport.push(events, self._headers)
        if answers[0].status == 413 and len(events) > 1:
            # Too long for this edge, or too many: each half is tried for itself.
            middle = len(events) // 2
            return [*await self._push(events[:middle]), *await self._push(events[middle:])]
        if answers[0].status in (401, 403, 404):
            # A key that is not live yet, an edge that is not the right one: the events are not to blame, and wait.
            return [answer._replace(status=503) for answer in answers]
        return answers

    def _count(self, event: bytes, answer: Answer) -> None:
        self.unanswered -= 1
        if answer.is_admitted:
            self.counts.admitted += answer.decision == "ADMIT"
            self.counts.duplicates += answer.decision == "DUPLICATE"
            return
        self.counts.refused += 1
        self.refused.append(told(answer.body))
        with (self._folder / "refused.jsonl").open("a") as refused:
            refused.write(json.dumps({"event": event.decode(errors="backslashreplace"), "answer": answer.body}) + "\n")

    async def _settle(self) -> None:
        """Moves the mark over the oldest parcels that are done: what is behind one that is not goes again after a death."""
        last: Place | None = None
        while self._on_the_way and self._on_the_way[0].done:
            last = self._on_the_way.popleft().end
        if last is not None and self._spool is not None:
            self._spool.answered(last)
        async with self._settled:
            self._settled.notify_all()
