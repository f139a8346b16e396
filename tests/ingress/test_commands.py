"""`fp edge` and `fp send` as processes: what a producer's first day looks like, and how both end."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.ingress.rig import traffic
from tests.ingress.test_local_archive import receipts, refusals

RUN = f"platform_{secrets.randbelow(10**8):08d}T000000Z"
KEY = "the-key-of-this-test"
FP = (sys.executable, "-m", "cli.main")


class Served(NamedTuple):
    """`fp edge`, which serves."""

    process: asyncio.subprocess.Process
    url: str
    archive: Path


async def start(folder: Path) -> Served:
    archive = folder / "archive"
    with (folder / "edge.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *FP, "edge", "--port", "0", "--sandboxes", "1", "--run", RUN, "--archive", str(archive), "--rounds", "0.5",
            env={**os.environ, "FP_EDGE_KEY": KEY}, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(120):
        said = (await process.stdout.readline()).decode()
        told = await process.stdout.readline()
    assert said == f"run {RUN}, X-IG-Api-Key: {KEY}\n", (folder / "edge.log").read_text()
    assert told, (folder / "edge.log").read_text()
    return Served(process, f"http://127.0.0.1:{json.loads(told)['port']}", archive)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    served = await start(tmp_path_factory.mktemp("edge"))
    yield served
    if served.process.returncode is None:
        served.process.terminate()
        await served.process.wait()


def event(**payload: Any) -> dict[str, Any]:
    return traffic(**payload) | {"platform_run_id": RUN}


def lines(*events: Any) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in events)


class Sent(NamedTuple):
    """What `fp send` said."""

    code: int
    out: str
    err: str


async def send(url: str, spool: Path, *arguments: str, stdin: bytes = b"", key: str = KEY) -> Sent:
    process = await asyncio.create_subprocess_exec(
        *FP, "send", *arguments, "--url", url, "--spool", str(spool),
        env={**os.environ, "FP_EDGE_KEY": key},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(stdin), 90)
    return Sent(process.returncode or 0, out.decode(), err.decode())


async def test_lines_of_a_file_and_of_stdin_are_admitted_once(served: Served, tmp_path: Path) -> None:
    body = lines(*(event() for _ in range(30)), b"", b"   ")
    (tmp_path / "events.jsonl").write_bytes(body)
    first = await send(served.url, tmp_path / "spool", str(tmp_path / "events.jsonl"))
    assert (first.code, first.out) == (0, "admitted 30, duplicates 0, refused 0, waiting 0\n"), first.err
    again = await send(served.url, tmp_path / "other", "-", stdin=body)
    assert (again.code, again.out) == (0, "admitted 0, duplicates 30, refused 0, waiting 0\n"), again.err


async def test_a_refused_body_is_told_by_field_value_and_what_to_do(served: Served, tmp_path: Path) -> None:
    wrong, foreign, good = event(amount_minor=-1), traffic() | {"platform_run_id": "platform_19990101T000000Z"}, event()
    sent = await send(served.url, tmp_path / "spool", "-", stdin=lines(wrong, b'{"event_id": ', foreign, good))
    assert (sent.code, sent.out) == (1, "admitted 1, duplicates 0, refused 3, waiting 0\n"), sent.err
    told = sent.err.splitlines()
    assert len(told) == 3  # a broken line refuses itself, and none of its neighbours
    assert f"refused {wrong['event_id']}: SCHEMA_FAIL: payload.amount_minor = -1: Expected `int` >= 0" in told
    [broken] = [line for line in told if "MALFORMED_JSON" in line]
    assert "send JSON after RFC 8259" in broken
    [other] = [line for line in told if "RUN_UNKNOWN" in line]
    assert 'platform_run_id = "platform_19990101T000000Z"' in other
    assert f"the active run is {RUN}" in other
    kept = [json.loads(line) for line in (tmp_path / "spool" / "refused.jsonl").read_text().splitlines()]
    assert [json.loads(entry["event"]) for entry in kept if entry["answer"]["reason_codes"] == ["SCHEMA_FAIL"]] == [wrong]


async def test_what_cannot_be_sent_is_told_before_anything_is(served: Served, tmp_path: Path) -> None:
    nowhere = await send(served.url, tmp_path / "spool", str(tmp_path / "no.jsonl"))
    assert nowhere.code == 2
    assert "no.jsonl" in nowhere.err
    assert "Traceback" not in nowhere.err
    assert (await send(served.url, tmp_path / "spool", "-", key="")).code == 2
    assert not (tmp_path / "spool").exists()


async def test_what_has_no_answer_stays_in_the_spool_and_goes_with_the_next_send(served: Served, tmp_path: Path) -> None:
    body = lines(*(event() for _ in range(5)))
    away = await send("http://127.0.0.1:9", tmp_path / "spool", "-", "--within", "0.5", stdin=body)
    assert (away.code, away.out) == (1, "admitted 0, duplicates 0, refused 0, waiting 5\n")
    assert f"they stay in {tmp_path / 'spool'}" in away.err
    unknown = await send(served.url, tmp_path / "spool", "-", "--within", "1", key="not-a-key")
    assert (unknown.code, unknown.out) == (1, "admitted 0, duplicates 0, refused 0, waiting 5\n")
    assert "UNAUTHORIZED" in unknown.err
    then = await send(served.url, tmp_path / "spool", "-")
    assert (then.code, then.out) == (0, "admitted 5, duplicates 0, refused 0, waiting 0\n"), then.err


async def test_sigterm_answers_what_was_accepted_archives_it_and_leaves_no_process(served: Served) -> None:
    children = psutil.Process(served.process.pid).children(recursive=True)
    sandboxes = [child for child in children if "awslambdaric" in " ".join(child.cmdline())]
    assert len(sandboxes) == 3  # the edge, its reconciler and its archive
    arrays = [[event() for _ in range(20)] for _ in range(6)]
    async with aiohttp.ClientSession() as session:

        async def push(body: list[dict[str, Any]]) -> list[dict[str, Any]]:
            async with session.post(f"{served.url}/v1/ingest/push", json=body, headers={"X-IG-Api-Key": KEY}) as response:
                items: list[dict[str, Any]] = (await response.json())["items"]
                return items

        under_way = [asyncio.create_task(push(body)) for body in arrays]
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        served.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*under_way, return_exceptions=True)
    assert await asyncio.wait_for(served.process.wait(), 60) == 0
    assert not [child for child in [*children, *sandboxes] if child.is_running()]
    items = [item for answer in answers if isinstance(answer, list) for item in answer]
    assert len(items) >= 20
    # What was answered as admitted has its receipt, once; so have those of the tests before.
    ids = [receipt["event_id"] for receipt in receipts(served.archive)]
    assert {item["event_id"] for item in items if item["decision"] == "ADMIT"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert len(refusals(served.archive)) >= 3
