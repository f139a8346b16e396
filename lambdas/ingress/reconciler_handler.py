"""The reconciler's Lambda function: `ingress.reconciler_handler.handler`, called by a schedule and by the dead-letter queue."""

from collections.abc import Mapping
from typing import Any

from ingress.edge import Edge
from ingress.logs import configure_logs
from ingress.settings import load_settings
from ingress.warm import Warm


async def _open() -> Edge:
    configure_logs()
    edge = Edge(load_settings())
    await edge.start(probe=False)
    return edge


_warm = Warm(_open)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """The partial batch answer to messages of the queue; how many rows ended how, to a schedule.

    A schedule's failure is raised, so that the function's error count shows it; a message's is in the answer, so that it comes again.
    """
    return _warm.run(lambda edge: _answer(edge, event))


async def _answer(edge: Edge, event: Mapping[str, Any]) -> dict[str, Any]:
    messages = event.get("Records")
    if messages is None:
        return dict(await edge.reconciler.sweep())
    return {"batchItemFailures": [{"itemIdentifier": number} for number in await edge.reconciler.drain(messages)]}
