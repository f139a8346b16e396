"""The two places of quarantine records tell the same; the file is for measurements and survives its process."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingress.quarantine_file import QuarantineFile, records_of
from ingress.quarantine_rows import PENDING, QuarantineRows, QuarantineTable
from ingress.row import Item, text
from ingress.settings import posture_reasons
from tests.ingress.rig import Site, changed, push, traffic
from tests.ingress.test_parts import settings


@pytest.fixture(params=["table", "file"])
async def rows(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> AsyncIterator[QuarantineRows]:
    if request.param == "table":
        yield QuarantineTable(site.store, f"{site.name}-quarantine")
        return
    file = QuarantineFile(tmp_path / "quarantine.jsonl")
    await file.start()
    yield file
    await file.stop()


def pending(name: str) -> Item:
    return {"quarantine_id": text(name), "anomaly_published": {"BOOL": False}, "anomaly_pending": text(PENDING)}


async def names(rows: QuarantineRows) -> set[str]:
    return {item["quarantine_id"]["S"] async for item in rows.pending()}


async def test_what_stood_first_counts(rows: QuarantineRows) -> None:
    first = {"quarantine_id": text("q-first"), "detail": text("first")}
    assert await rows.put_new(first) is None
    assert await rows.put_new(first | {"detail": text("second")}) == first


async def test_an_anomaly_is_pending_until_it_is_published(rows: QuarantineRows) -> None:
    item = pending("q-pending")
    await rows.put_new(dict(item))
    await rows.put_new({"quarantine_id": text("q-refusal")})
    assert "q-pending" in await names(rows)
    assert "q-refusal" not in await names(rows)
    await rows.mark_published("q-pending")
    await rows.mark_published("q-nobody-put")
    assert not {"q-pending", "q-nobody-put"} & await names(rows)
    stands = await rows.put_new(item)
    assert stands is not None
    assert stands["anomaly_published"] == {"BOOL": True}
    assert await rows.put_new({"quarantine_id": text("q-nobody-put")}) is None


async def test_a_file_is_read_again_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    one = QuarantineFile(path)
    await one.start()
    for name in ("told", "untold"):
        await one.put_new(pending(name))
    await one.mark_published("told")
    await one.stop()
    other = QuarantineFile(path)
    await other.start()
    assert await names(other) == {"untold"}
    await other.mark_published("untold")
    await other.stop()
    assert {name: item["anomaly_published"]["BOOL"] for name, item in records_of(path).items()} == {"told": True, "untold": True}


async def test_an_edge_keeps_its_refusals_in_the_file(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    async with site.edge(table="memory", quarantine_file=str(path)) as edge:
        event = traffic()
        await push(edge, event)
        answer = await push(edge, changed(event))
        assert answer.reasons == ["PAYLOAD_HASH_MISMATCH"]
        assert not {"PutItem", "UpdateItem"} & edge.store.calls.keys()
    kept = records_of(path)[answer.body["quarantine_id"]]
    assert kept["event_id"] == {"S": event["event_id"]}
    assert kept["anomaly_published"] == {"BOOL": True}


def test_refusals_in_a_file_are_refused_beyond_local_parity() -> None:
    for env in ("dev_min", "dev_full", "prod_target"):
        assert any("FP_IG_QUARANTINE_FILE" in reason for reason in posture_reasons(settings(env=env, quarantine_file="q.jsonl")))
    assert posture_reasons(settings(env="local_parity", quarantine_file="q.jsonl")) == []


@pytest.mark.parametrize("others", [("--sandboxes", "2"), ("--archive", "archive")])
def test_a_file_is_for_one_process_without_an_archive(site: Site, tmp_path: Path, others: tuple[str, str]) -> None:
    environment = os.environ | site.environment() | {"FP_IG_QUARANTINE_FILE": str(tmp_path / "quarantine.jsonl")}
    argv = [sys.executable, "-m", "ingress", "--port", "0", *others]
    ended = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "FP_IG_QUARANTINE_FILE" in ended.stderr
