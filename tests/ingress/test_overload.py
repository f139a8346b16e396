"""An edge with too much in hand turns work away before anything of it is written, and takes it again by itself."""

import asyncio
from collections.abc import Sequence

import pytest

from ingress.batches import Ack, PublishUnknownError
from ingress.load import Load
from ingress.record import Record
from ingress.row import UNSETTLED, from_item
from ingress.settings import SettingsError
from tests.ingress.rig import Site, push, settled, spent, traffic

BOUND = 8
ARRAY = 4


async def states(site: Site) -> list[str]:
    """The state of every row of the site."""
    page = await site.store.call("Scan", {"TableName": f"{site.name}-idempotency", "ConsistentRead": True})
    return [from_item(item).state for item in page["Items"]]


async def test_what_is_beyond_the_bound_is_told_to_come_again_and_leaves_nothing_in_doubt(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    singles = [traffic() for _ in range(40)]
    arrays = [[traffic() for _ in range(ARRAY)] for _ in range(4)]
    async with site.edge(max_in_hand=BOUND, max_items=ARRAY, probe_s=3600) as edge:
        await push(edge, traffic())  # the bus is connected
        publish_all, opened = edge.bus.publish_all, asyncio.Event()

        async def slow(records: Sequence[Record]) -> list[Ack | PublishUnknownError]:
            await opened.wait()
            return await publish_all(records)

        monkeypatch.setattr(edge.bus, "publish_all", slow)
        edge.store.calls.clear()
        work = [asyncio.create_task(push(edge, body)) for body in [*arrays, *singles]]
        async with asyncio.timeout(60):
            while len(shed := [task for task in work if task.done()]) < len(work) - 2:
                await asyncio.wait(set(work) - set(shed), return_when=asyncio.FIRST_COMPLETED)
            while len(await states(site)) < 1 + BOUND:
                await asyncio.sleep(0.05)  # of what was taken in, the rows are being put
        # Two arrays of four fill the bound; of everything else not a byte was written.
        assert edge.load.in_hand == BOUND
        answers = [task.result() for task in shed]
        assert {(answer.status, *answer.reasons) for answer in answers} == {(429, "RATE_LIMITED")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert spent(edge)["PutItem"] == BOUND
        assert edge.load.shed == 2 * ARRAY + len(singles)
        assert sorted(await states(site)) == ["ADMITTED"] + ["PUBLISH_IN_FLIGHT"] * BOUND

        opened.set()
        admitted = [item["decision"] for task in work[:2] for item in (await task).body["items"]]
        assert admitted == ["ADMIT"] * BOUND
        assert edge.load.in_hand == 0
        # By itself: whoever comes again is taken, once.
        for body in [*arrays[2:], *singles]:
            answer = await settled(edge, body)
            assert {item["decision"] for item in answer.body.get("items", [answer.body])} == {"ADMIT"}
        assert spent(edge)["PutItem"] == 4 * ARRAY + len(singles)
    found = await states(site)
    assert len(found) == 1 + 4 * ARRAY + len(singles)
    assert not [state for state in found if state in UNSETTLED]


def test_a_bound_takes_an_array_whole_or_not_at_all() -> None:
    load = Load(10)
    assert load.enter(6)
    assert not load.enter(5)
    assert load.enter(4)
    assert not load.enter(1)
    load.leave(6)
    assert load.enter(5)
    assert (load.in_hand, load.shed) == (9, 6)


def test_a_bound_below_an_array_is_refused(site: Site) -> None:
    with pytest.raises(SettingsError, match="FP_IG_MAX_IN_HAND=5 is below FP_IG_MAX_ITEMS=2000"):
        site.settings(max_in_hand=5)


async def test_a_request_that_fails_gives_its_place_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site.edge() as edge:

        async def broken(*_: object) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(edge._items, "one", broken)
        with pytest.raises(RuntimeError):
            await push(edge, traffic())
        assert edge.load.in_hand == 0
