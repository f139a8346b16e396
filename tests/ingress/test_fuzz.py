"""Bodies that nobody would send: no 500, nothing dropped without a record; and the OpenAPI document held against the edge."""

import asyncio
import subprocess
import sys
from pathlib import Path
from random import Random

from ingress.edge import Edge
from ingress.released import FOLDER
from tests.ingress.fuzz import STATUSES, carried, fuzzed_body, run
from tests.ingress.http import EdgeProcess
from tests.ingress.rig import KEY, Answered, Site, event_of

# Arrays are answered item by item under 200, and what a schema allows policy may still refuse (another run, a leak column).
_NOT_MEANT = ("negative_data_rejection", "positive_data_acceptance")


async def test_fuzzed_bodies_are_judged_and_each_has_its_record() -> None:
    counts = await run(5_000, seed=1)
    assert counts["items"] >= 5_000
    assert counts["ADMIT"] > 100
    assert not any("INTERNAL_ERROR" in name for name in counts)


async def test_fuzzed_bodies_through_the_engines_leave_what_they_say(site: Site, edge: Edge) -> None:
    rng = Random(3)
    told: set[str] = set()
    for _ in range(150):
        body, lines = fuzzed_body(rng)
        event = event_of(b"", {"Content-Type": "application/x-ndjson" if lines else "application/json"}) | carried(body)
        answer = Answered(await edge.handle(event))
        assert answer.status in STATUSES
        for item in answer.body.get("items", [answer.body]):
            if item["decision"] == "QUARANTINE":
                told.add(item["quarantine_id"])
            else:
                assert item["decision"] in ("ADMIT", "DUPLICATE"), item
    assert len(told) > 50
    assert told <= {item["quarantine_id"]["S"] for item in await site.quarantined()}


async def test_the_document_says_what_the_edge_does(site: Site, tmp_path: Path) -> None:
    """schemathesis makes requests of the document, lawful and not, and holds every answer against it."""
    async with EdgeProcess(site, tmp_path) as process:
        argv = [
            sys.executable, "-m", "schemathesis.cli", "run", str(FOLDER / "openapi.json"), "--url", f"http://127.0.0.1:{process.port}",
            "-H", f"X-IG-Api-Key: {KEY}", "--exclude-checks", ",".join(_NOT_MEANT), "--max-examples", "40", "--seed", "1",
            "--no-color", "--phases", "examples,coverage,fuzzing", "--generation-database", "none",
        ]  # fmt: skip
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
