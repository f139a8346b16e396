"""The provider does one effect per key, whatever it loses, whoever asks at once, and even if it is killed."""

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from testkit.provider.faults import Fault, FaultRates
from testkit.provider.journal import AttemptLine, Journal, JournalDamagedError, OutcomeLine, replay

QUIET = {"unavailable": 0.0, "lost-before": 0.0, "lost-after": 0.0, "delayed": 0.0, "refused": 0.0}
BODY = {"action_kind": "txn_block", "subject": {"event_id": "e1"}}


class Running:
    """A provider process and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, url: str) -> None:
        self.process = process
        self.session = session
        self.url = url

    async def submit(self, key: str, body: object = BODY) -> tuple[int, dict[str, object]]:
        async with self.session.post(f"{self.url}/v1/effects", json=body, headers={"Idempotency-Key": key}) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, dict[str, object]]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def all_effects(self) -> list[str]:
        keys: list[str] = []
        after: object = 0
        while True:
            _, page = await self.get(f"/v1/effects?after={after}&limit=7")
            effects = page["effects"]
            assert isinstance(effects, list)
            if not effects:
                return keys
            keys += [effect["key"] for effect in effects]
            after = page["next_after"]


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    running: list[Running] = []

    async def begin(journal: str = "journal", **rates: float) -> Running:
        options = {**QUIET, **{name.replace("_", "-"): value for name, value in rates.items()}}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "testkit.provider",
            "--journal",
            str(tmp_path / journal),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert ready["ready"] is True
        provider = Running(process, aiohttp.ClientSession(), f"http://{ready['host']}:{ready['port']}")
        running.append(provider)
        return provider

    yield begin
    for provider in running:
        await provider.session.close()
        if provider.process.returncode is None:
            provider.process.kill()
        await provider.process.wait()


async def test_one_submit_has_one_effect_that_can_be_looked_up(start: Start) -> None:
    provider = await start()
    status, answer = await provider.submit("k/1")
    assert (status, answer["status"], answer["action_kind"]) == (201, "EXECUTED", "txn_block")
    assert await provider.get("/v1/effects/k/1") == (200, answer)
    assert (await provider.get("/v1/effects/unknown"))[0] == 404
    assert (await provider.get("/livez"))[0] == (await provider.get("/readyz"))[0] == 200


async def test_the_same_key_gives_the_first_answer_and_refuses_another_body(start: Start) -> None:
    provider = await start()
    first = await provider.submit("k")
    reordered = dict(reversed(BODY.items()))
    assert await provider.submit("k", reordered) == first, "the order of keys is not another body"
    status, answer = await provider.submit("k", {**BODY, "subject": "another"})
    assert (status, answer["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await provider.all_effects() == ["k"]


async def test_fifty_submits_at_once_have_one_effect(start: Start) -> None:
    provider = await start(delayed=0.5, delay_ms=30)
    answers = await asyncio.gather(*(provider.submit("hot") for _ in range(50)))
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == 201
    assert await provider.all_effects() == ["hot"]
    assert (await provider.get("/v1/effects"))[1]["attempts"] == 50


async def test_a_lost_answer_leaves_exactly_one_effect(start: Start) -> None:
    provider = await start(lost_after=1.0)
    for _ in range(3):
        with pytest.raises(aiohttp.ClientError):
            await provider.submit("k")
    assert (await provider.get("/v1/effects/k"))[1]["status"] == "EXECUTED"
    assert await provider.all_effects() == ["k"]


async def test_an_answer_lost_before_the_effect_and_a_failure_leave_none(start: Start) -> None:
    losing = await start("losing", lost_before=1.0)
    with pytest.raises(aiohttp.ClientError):
        await losing.submit("k")
    failing = await start("failing", unavailable=1.0)
    assert (await failing.submit("k"))[0] == 503
    for provider in (losing, failing):
        assert (await provider.get("/v1/effects/k"))[0] == 404
        assert await provider.all_effects() == []


async def test_a_refusal_is_for_ever_and_no_effect(start: Start) -> None:
    provider = await start(refused=1.0)
    first = await provider.submit("k")
    assert first[0] in {409, 422} and first[1]["status"] == "REFUSED" and first[1]["code"]
    assert await provider.submit("k") == first
    assert (await provider.get("/v1/effects/k")) == (200, first[1])
    assert await provider.all_effects() == []


async def test_a_lookup_waits_for_submits_that_have_arrived(start: Start) -> None:
    provider = await start(delayed=1.0, delay_ms=800)
    key = next(key for key in map(str, range(1_000)) if FaultRates(delayed=1.0, delay_ms=800).delay_s(key, 1) > 0.6)
    submit = asyncio.create_task(provider.submit(key))
    await asyncio.sleep(0.2)
    assert (await provider.get(f"/v1/effects/{key}"))[0] == 200, "404 would promise that there is no effect"
    assert (await submit)[0] == 201


async def test_what_was_answered_survives_a_kill(start: Start, tmp_path: Path) -> None:
    provider = await start(unavailable=0.1, lost_after=0.1, seed=4)
    answered: dict[str, dict[str, object]] = {}
    keys = [f"key-{number}" for number in range(400)]

    async def submit(to: Running, key: str) -> None:
        try:
            status, answer = await to.submit(key)
        except aiohttp.ClientError:
            return
        if status == 201:
            assert answered.setdefault(key, answer) == answer, "a second effect"

    work = [asyncio.create_task(submit(provider, key)) for key in keys]
    while len(answered) < 100:
        await asyncio.sleep(0.001)
    provider.process.send_signal(signal.SIGKILL)
    await asyncio.gather(*work)
    before = dict(answered)
    assert 100 <= len(before) < 400, "the kill came in the middle"
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b'{"type":"outcome","key":"torn')

    again = await start(unavailable=0.1, lost_after=0.1, seed=4)
    for key, answer in before.items():
        assert await again.get(f"/v1/effects/{key}") == (200, answer)
    while len(answered) < len(keys):
        await asyncio.gather(*(submit(again, key) for key in keys if key not in answered))
    assert sorted(await again.all_effects()) == sorted(keys)
    outcomes = [line.key for line in replay(tmp_path / "journal") if isinstance(line, OutcomeLine)]
    assert len(outcomes) == len(set(outcomes)) == len(keys)


async def test_faults_are_the_same_in_every_run_of_a_seed(start: Start) -> None:
    async def story(provider: Running) -> list[object]:
        told: list[object] = []
        for number in range(60):
            for _ in range(2):
                try:
                    told.append((await provider.submit(f"k{number}"))[0])
                except aiohttp.ClientError:
                    told.append("lost")
        return told

    rates = {"unavailable": 0.2, "lost_before": 0.1, "lost_after": 0.1, "refused": 0.1}
    first, second, other = [await story(await start(f"j{number}", seed=seed, **rates)) for number, seed in enumerate((1, 1, 2))]
    assert first == second != other
    assert {201, 503, "lost"} <= set(first) and {409, 422} & set(first)


def test_fault_rates_are_the_declared_ones() -> None:
    rates = FaultRates(seed=9, unavailable=0.1, lost_before=0.05, lost_after=0.05, delayed=0.2, refused=0.1)
    keys = [f"{random.Random(number).getrandbits(64):x}" for number in range(20_000)]
    faults = [rates.fault(key, 1) for key in keys]
    for fault, share in ((Fault.UNAVAILABLE, 0.1), (Fault.LOST_BEFORE, 0.05), (Fault.LOST_AFTER, 0.05)):
        assert faults.count(fault) / len(keys) == pytest.approx(share, abs=0.01)
    assert sum(rates.delay_s(key, 1) > 0 for key in keys) / len(keys) == pytest.approx(0.2, abs=0.015)
    assert sum(rates.refusal(key) is not None for key in keys) / len(keys) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("rates", [{"unavailable": 0.6, "lost_after": 0.6}, {"refused": -0.1}, {"delay_ms": -1}])
def test_impossible_rates_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        FaultRates(**rates)  # type: ignore[arg-type]  # what is refused is no rate


async def test_malformed_requests_are_refused_and_do_nothing(start: Start) -> None:
    provider = await start(max_body=2_000)
    big = await provider.submit("k", {**BODY, "note": "x" * 3_000})
    assert (big[0], big[1]["code"]) == (413, "TOO_LARGE")
    bodies: list[object] = [[], {"action_kind": "x"}, {"action_kind": 1, "subject": ""}]
    for body in bodies:
        assert (await provider.submit("k", body))[0] == 400
    assert (await provider.submit("x" * 201))[0] == 400
    async with provider.session.post(f"{provider.url}/v1/effects", json=BODY) as answer:
        assert answer.status == 400
    async with provider.session.post(f"{provider.url}/v1/effects", data=b"{", headers={"Idempotency-Key": "k"}) as answer:
        assert answer.status == 400
    for query in ("after=x", "after=-1", "limit=0", "limit=1001"):
        assert (await provider.get(f"/v1/effects?{query}"))[0] == 400
    assert (await provider.get("/v1/effects"))[1]["attempts"] == 0


async def test_sigterm_lets_open_submits_finish(start: Start) -> None:
    provider = await start(delayed=1.0, delay_ms=800)
    key = next(key for key in map(str, range(1_000)) if FaultRates(delayed=1.0, delay_ms=800).delay_s(key, 1) > 0.5)
    submit = asyncio.create_task(provider.submit(key))
    await asyncio.sleep(0.2)
    provider.process.send_signal(signal.SIGTERM)
    assert (await submit)[0] == 201
    assert await asyncio.wait_for(provider.process.wait(), 10) == 0


def test_a_journal_that_something_else_wrote_into_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"not a line\n")
    with pytest.raises(JournalDamagedError):
        replay(path)


async def test_a_disk_that_refused_once_is_trusted_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_: int) -> None:
        raise OSError("disk full")

    journal = Journal(tmp_path / "journal")
    await journal.append(AttemptLine("k", "digest"))
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", refuse)
        with pytest.raises(OSError, match="disk full"):
            await journal.append(AttemptLine("l", "digest"))
    with pytest.raises(OSError, match="disk full"):
        await journal.append(AttemptLine("m", "digest"))
    await journal.close()
    assert "m" not in {line.key for line in replay(tmp_path / "journal")}
