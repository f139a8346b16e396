"""Sends a stream to a service: records to the bus, commands to whichever worker answers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from spine.deadline import Deadline
from spine.tokens import issue
from testkit.chaos.stream import Piece
from testkit.harness import Site
from testkit.workloads import Ask, record_of

# A caller of a writer boundary gives up after longer than any fault lasts: what it sent is then lost, which no law allows.
_ASK_SECONDS = 90.0
_ASKS_AT_ONCE = 8
_PAUSE = 0.05

_TAKEN = frozenset({200, 201, 202})
_CONTESTED = _TAKEN | {409}
# Nothing is known to be kept: the same command is sent again. 404 is about a subject that is not known yet.
_AGAIN = frozenset({404, 503})
# No lawful answer, and told as a surprise; a caller who got it sends the same command again all the same.
_BROKEN = 500


class Feeder:
    """Keeps count of what was sent; `surprises` are answers that no lawful command gets."""

    def __init__(self, site: Site, ports: Callable[[], Sequence[int]], seed: int) -> None:
        self._site = site
        self._ports = ports
        self._chance = random.Random(seed)  # noqa: S311  a repeatable draw, no secret
        self._producer = AIOKafkaProducer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_idempotence=True)
        self._asks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_ASKS_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self.sent: Counter[str] = Counter()
        self.records = 0
        self.commands = 0
        self.surprises: dict[tuple[str, int], str] = {}

    async def start(self) -> None:
        """Connect."""
        await self._producer.start()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15.0))

    async def stop(self) -> None:
        """Disconnect."""
        for ask in self._asks:
            ask.cancel()
        await self._producer.stop()
        if self._session is not None:
            await self._session.close()

    async def feed(self, pieces: Sequence[Piece]) -> None:
        """Hand the pieces over, in their order; answers and acknowledgements are waited for in `settled`."""
        for piece in pieces:
            self.sent[piece.what.value] += 1
            if isinstance(piece.fact, Ask):
                self.commands += 1
                self._task(self._ask(piece.fact, contested=piece.contested))
                continue
            record = record_of(piece.fact)
            self.records += 1
            name = self._site.prefix + record.topic.name
            sent = await self._producer.send(name, record.value, key=record.key, partition=record.partition, headers=list(record.headers))
            self._task(_acknowledged(sent))

    async def settled(self) -> None:
        """Every record is acknowledged and every command has its answer. Raises what the first failure raised."""
        while self._asks:
            await asyncio.gather(*self._asks)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def _ask(self, ask: Ask, *, contested: bool) -> None:
        headers = {"authorization": f"Bearer {issue(self._site.token_secret, ask.principal)}", "content-type": "application/json"}
        body = json.dumps(ask.payload).encode()
        deadline = Deadline(_ASK_SECONDS)
        async with self._slots:
            while (answer := await self._post(ask.path, body, headers))[0] in _AGAIN or answer[0] == _BROKEN:
                if answer[0] == _BROKEN:
                    self._surprise(ask, *answer)
                deadline.check(f"{ask.event_type.name} {ask.event_id} to be taken (the last answer was {answer})")
                await asyncio.sleep(_PAUSE)
        status, said = answer
        if status not in (_CONTESTED if contested else _TAKEN):
            self._surprise(ask, status, said)

    def _surprise(self, ask: Ask, status: int, said: str) -> None:
        # One of each kind: a store that is down for seconds answers hundreds of callers alike.
        self.surprises.setdefault(
            (ask.event_type.name, status), f"ANSWER {ask.event_type.name} {ask.event_id} was answered {status} {said}"
        )

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        ports = self._ports()
        if not ports or self._session is None:
            return 503, "no worker"
        url = f"http://127.0.0.1:{self._chance.choice(ports)}{path}"
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The worker died under it: whether it was taken, the next worker knows.
            return 503, f"{type(error).__name__}: {error}"


async def _acknowledged(sent: asyncio.Future[object]) -> None:
    await sent
