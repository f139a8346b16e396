"""The Lambda function behind API Gateway: `ingress.handler.handler`, HTTP API events with payload format 2.0."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ingress.answers import Response
from ingress.edge import Edge
from ingress.logs import configure_logs
from ingress.settings import load_settings


class _Warm:
    """One loop and one edge for the life of the process: the next invocation finds connections and producer as they were."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._edge: Edge | None = None

    def handle(self, event: Mapping[str, Any]) -> Response:
        if self._loop is None or self._edge is None:
            configure_logs()
            loop = asyncio.new_event_loop()
            self._edge = loop.run_until_complete(self._open())
            self._loop = loop
        return self._loop.run_until_complete(self._edge.handle(event))

    async def _open(self) -> Edge:
        edge = Edge(load_settings())
        # Not probed first: the request that waits asks both dependencies itself.
        await edge.start(probe=False)
        return edge


_warm = _Warm()


def handler(event: Mapping[str, Any], _context: object) -> Response:
    """One invocation. Raises spine.settings.PostureError or pydantic.ValidationError where the settings forbid to serve."""
    return _warm.handle(event)
