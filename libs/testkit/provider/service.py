"""The provider's HTTP surface.

POST /v1/effects with an Idempotency-Key does one effect; POST /v1/effects/batch does one a line, and tells of each in a line of its
answer, in the order in which they are done; GET /v1/effects/{key} tells what became of a key; GET /v1/effects lists the effects.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from typing import NamedTuple, TypeAlias

import msgspec
from aiohttp import web

from testkit.provider.book import Book, KeyReusedError
from testkit.provider.faults import Fault, FaultRates
from testkit.provider.journal import OutcomeLine

MAX_KEY_LENGTH = 200
MAX_PAGE = 1_000
MAX_BATCH = 256
"""Lines of one batch."""
# A body as its digest sees it. The digests stand in journals: another writer's floats, or texts beyond ASCII, would be other bytes.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Submit:
    """A request for an effect that is well formed."""

    key: str
    action_kind: str
    body_digest: str


class _Attempt(NamedTuple):
    """A submit that counts, and which of its key it is."""

    submit: Submit
    number: int


_Said: TypeAlias = tuple[int, dict[str, str]]
"""Status and body of an answer."""
_DONE = (Fault.NONE, Fault.LOST_AFTER)
"""What befalls an attempt that has its effect."""


class BadRequestError(Exception):
    """A request that is not well formed: nothing was counted and nothing done."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


class Provider:
    """Handlers over one book with declared faults.

    A POST gets one of these answers: 201 EXECUTED; 409 or 422 REFUSED with the provider's code; 503 UNAVAILABLE (no effect
    yet); 500 if its disk refuses; no answer at all; and without any effect 400 BAD_REQUEST, 413 TOO_LARGE, 422
    IDEMPOTENCY_KEY_REUSED. A later submit of a settled key gets the first answer again, unless a fault befalls that attempt.
    """

    def __init__(self, book: Book, faults: FaultRates, max_body: int) -> None:
        self._book = book
        self._faults = faults
        self._max_body = max_body

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=self._max_body * MAX_BATCH)
        app.router.add_post("/v1/effects", self._submit)
        app.router.add_post("/v1/effects/batch", self._submit_many)
        app.router.add_get("/v1/effects/{key:.+}", self._lookup)
        app.router.add_get("/v1/effects", self._list)
        app.router.add_get("/livez", self._alive)
        app.router.add_get("/readyz", self._ready)
        return app

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        try:
            submit = await _read(request, self._max_body)
        except BadRequestError as error:
            return _problem(error.status, error.code, error.detail)
        try:
            attempt = self._book.begin(submit.key, submit.body_digest)
        except KeyReusedError:
            return _problem(422, "IDEMPOTENCY_KEY_REUSED", "the key belongs to another body")
        [said] = await self._done([_Attempt(submit, attempt)], self._faults.delay_s(submit.key, attempt))
        if isinstance(said, OSError):
            raise said
        return _hang_up(request) if said is None else web.json_response(said[1], status=said[0])

    async def _done(self, attempts: Sequence[_Attempt], delay: float) -> list[_Said | OSError | None]:
        """Status and body of the answer to each attempt, which all have the same delay, and the end of them; None where there is no
        answer, an OSError where the disk refuses."""
        try:
            if delay:
                await asyncio.sleep(delay)
            faults = [self._faults.fault(submit.key, number) for submit, number in attempts]
            # What they do is written together: a disk makes a group durable in the time of one.
            wanted = [self._wanted(each.submit) for each, fault in zip(attempts, faults, strict=True) if fault in _DONE]
            outcomes = iter(await self._book.settle(wanted))
            return [_said(fault, next(outcomes) if fault in _DONE else None) for fault in faults]
        finally:
            for submit, _ in attempts:
                self._book.end(submit.key)

    async def _submit_many(self, request: web.Request) -> web.StreamResponse:
        try:
            lines = (await request.read()).splitlines()
            if len(lines) > MAX_BATCH or any(len(line) > self._max_body for line in lines):
                return _problem(413, "TOO_LARGE", f"a batch has at most {MAX_BATCH} lines of at most {self._max_body} bytes")
            submits = [_submit_of(wish.key, bytes(wish.request)) for wish in map(_WISH.decode, lines)]
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, "TOO_LARGE", "the body is over the limit")
        except (msgspec.MsgspecError, BadRequestError) as error:
            return _problem(400, "BAD_REQUEST", f"a line is no wish: {error}")
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        lines, at_once, late = self._begin_many(submits)
        # A task for what has a delay of its own, and only for that: most attempts have none.
        running = {asyncio.create_task(self._lines_of([attempt], delay)) for attempt, delay in late}
        lines += await self._lines_of(at_once, 0.0)
        if lines:
            await response.write(b"".join(lines))
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if lines := [line for one in done for line in one.result()]:
                await response.write(b"".join(lines))
        await response.write_eof()
        return response

    def _begin_many(self, submits: Sequence[Submit]) -> tuple[list[bytes], list[_Attempt], list[tuple[_Attempt, float]]]:
        """Lines for submits that do not count, attempts that are done at once, and attempts with their delays."""
        lines: list[bytes] = []
        at_once: list[_Attempt] = []
        late: list[tuple[_Attempt, float]] = []
        for submit in submits:
            try:
                attempt = _Attempt(submit, self._book.begin(submit.key, submit.body_digest))
            except KeyReusedError:
                lines.append(_line(submit.key, 422, _error("IDEMPOTENCY_KEY_REUSED", "the key belongs to another body")))
                continue
            if delay := self._faults.delay_s(submit.key, attempt.number):
                late.append((attempt, delay))
            else:
                at_once.append(attempt)
        return lines, at_once, late

    async def _lines_of(self, attempts: Sequence[_Attempt], delay: float) -> list[bytes]:
        """The lines of a batch's answer to attempts of one delay. One whose answer is lost, or that the disk refuses, has none."""
        said = await self._done(attempts, delay)
        return [_line(submit.key, *each) for (submit, _), each in zip(attempts, said, strict=True) if isinstance(each, tuple)]

    def _wanted(self, submit: Submit) -> OutcomeLine:
        refusal = self._faults.refusal(submit.key)
        return OutcomeLine(
            key=submit.key,
            status="REFUSED" if refusal else "EXECUTED",
            http_status=refusal.status if refusal else 201,
            action_kind=submit.action_kind,
            provider_ref=f"prv_{blake2b(f'{self._faults.seed}|{submit.key}'.encode(), digest_size=12).hexdigest()}",
            completed_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            code=refusal.code if refusal else None,
        )

    async def _lookup(self, request: web.Request) -> web.Response:
        """404 is final about every submit that has arrived; one that is still on its way can have its effect later."""
        outcome = await self._book.outcome(request.match_info["key"])
        return _problem(404, "NOT_FOUND", "no outcome for this key") if outcome is None else web.json_response(_view(outcome))

    async def _list(self, request: web.Request) -> web.Response:
        try:
            after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "100"))
        except ValueError:
            return _problem(400, "BAD_REQUEST", "after and limit are integers")
        if after < 0 or not 1 <= limit <= MAX_PAGE:
            return _problem(400, "BAD_REQUEST", f"after starts at 0 and limit is in 1..{MAX_PAGE}")
        page = self._book.effects(after, limit)
        return web.json_response(
            {
                "effects": [{"number": number, **_view(outcome)} for number, outcome in page],
                "next_after": page[-1][0] if page else after,
                "executed": self._book.counts["EXECUTED"],
                "refused": self._book.counts["REFUSED"],
                "attempts": self._book.counts["ATTEMPTS"],
            }
        )

    async def _alive(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        if self._book.writable:
            return web.json_response({"status": "ok"})
        return _problem(503, "JOURNAL_FAILED", "the disk refused; nothing new can be done before a restart")


async def _read(request: web.Request, max_body: int) -> Submit:
    """The submit in a request. Raises BadRequestError if it is not well formed."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise BadRequestError(413, "TOO_LARGE", "the body is over the limit") from error
    if len(body) > max_body:
        raise BadRequestError(413, "TOO_LARGE", "the body is over the limit")
    return _submit_of(request.headers.get("Idempotency-Key", ""), body)


def _submit_of(key: str, raw: bytes) -> Submit:
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise BadRequestError(400, "BAD_REQUEST", f"Idempotency-Key is 1..{MAX_KEY_LENGTH} printable characters")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadRequestError(400, "BAD_REQUEST", "the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("action_kind"), str) or "subject" not in body:
        raise BadRequestError(400, "BAD_REQUEST", "the body is an object with action_kind and subject")
    return Submit(key, body["action_kind"], sha256(_canonical(body).encode()).hexdigest())


class _Wish(msgspec.Struct, frozen=True):
    key: str
    request: msgspec.Raw


_WISH = msgspec.json.Decoder(_Wish)


def _line(key: str, status: int, body: dict[str, str]) -> bytes:
    return msgspec.json.encode({"key": key, "http_status": status, "body": body}) + b"\n"


def _said(fault: Fault, outcome: OutcomeLine | OSError | None) -> _Said | OSError | None:
    """What is said of an attempt: `outcome` is what became of it where it has its effect."""
    if fault is Fault.UNAVAILABLE:
        return 503, _error("UNAVAILABLE", "try again with the same key")
    if isinstance(outcome, OSError):
        return outcome
    return None if outcome is None or fault is Fault.LOST_AFTER else (outcome.http_status, _view(outcome))


def _error(code: str, detail: str) -> dict[str, str]:
    return {"status": "ERROR", "code": code, "detail": detail}


def _problem(status: int, code: str, detail: str) -> web.Response:
    return web.json_response(_error(code, detail), status=status)


def _view(outcome: OutcomeLine) -> dict[str, str]:
    view = {
        "key": outcome.key,
        "status": outcome.status,
        "action_kind": outcome.action_kind,
        "provider_ref": outcome.provider_ref,
        "completed_at": outcome.completed_at,
    }
    if outcome.code is not None:
        view["code"] = outcome.code
    return view


def _hang_up(request: web.Request) -> web.Response:
    """Closes the connection so that the client gets no byte of an answer; aiohttp finds it closed and writes nothing."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
