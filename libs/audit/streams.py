"""The records that a lane's certificates cover, in the order in which they were applied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from audit.chain import Cert
from audit.target import Target
from audit.topic import Log, LogGoneError, Read


class Stream:
    """The records of one partition, taken in order."""

    def __init__(self, log: Log, topic: str, partition: int, start: int, stop: int) -> None:
        self._pieces: AsyncIterator[list[Read]] = log.read(topic, partition, start, stop)
        self._left: list[Read] = []
        self._at = 0

    async def take(self, count: int) -> list[Read]:
        """The next `count` records. Raises LogGoneError where the log has fewer."""
        taken: list[Read] = []
        while len(taken) < count:
            if self._at == len(self._left):
                try:
                    self._left, self._at = await anext(self._pieces), 0
                except StopAsyncIteration:
                    raise LogGoneError("the log ends before the certificate's range") from None
            piece = self._left[self._at : self._at + count - len(taken)]
            taken += piece
            self._at += len(piece)
        return taken


class LaneStreams:
    """One reader for each partition that a lane's certificates cover."""

    def __init__(self, certs: Sequence[Cert], target: Target) -> None:
        self._certs = certs
        self._target = target
        self._logs: list[Log] = []
        self._streams: dict[tuple[str, int], Stream] = {}

    async def __aenter__(self) -> LaneStreams:
        extents: dict[tuple[str, int], tuple[int, int]] = {}
        for cert in self._certs:
            for span in cert.spans:
                place = (span.topic, span.partition)
                extents[place] = (extents[place][0] if place in extents else span.start, span.stop)
        await self._check_identities()
        for (topic, partition), (start, stop) in extents.items():
            log = Log(self._target.bus, self._target.prefix)
            await log.__aenter__()
            self._logs.append(log)
            self._streams[(topic, partition)] = Stream(log, topic, partition, start, stop)
        return self

    async def _check_identities(self) -> None:
        """Offsets of a topic that was made anew mean other records under the same name."""
        certified = {(span.topic, span.topic_id) for cert in self._certs for span in cert.spans}
        if not certified:
            return
        now = await Log(self._target.bus, self._target.prefix).identities(sorted({topic for topic, _ in certified}))
        for topic, topic_id in sorted(certified):
            if topic not in now or str(now[topic].topic_id) != topic_id:
                found = f"topic id {now[topic].topic_id}" if topic in now else "nothing"
                raise LogGoneError(f"certificates are about {topic} with topic id {topic_id}; {found} stands under that name")

    async def __aexit__(self, *_: object) -> None:
        for log in self._logs:
            await log.__aexit__()

    async def records(self, cert: Cert) -> list[Read]:
        """The records of the next certificate. Raises LogGoneError where the log no longer holds them."""
        return [read for span in cert.spans for read in await self._streams[(span.topic, span.partition)].take(span.stop - span.start)]
