"""Admission on real engines: what is written, what is published, what is answered."""

from ingress.edge import Edge

from tests.ingress.rig import Site, push, traffic


async def test_an_event_is_admitted_once_and_its_copy_refers_to_it(site: Site, edge: Edge) -> None:
    event = traffic()
    first = await push(edge, event)
    assert (first.status, first.decision) == (202, "ADMIT"), first.body
    second = await push(edge, event)
    assert (second.status, second.decision) == (202, "DUPLICATE")
    assert second.body["receipt"]["eb_ref"] == first.body["receipt"]["eb_ref"]
