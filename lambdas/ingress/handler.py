"""The Lambda function behind API Gateway: `ingress.handler.handler`, HTTP API events with payload format 2.0."""

from collections.abc import Mapping
from typing import Any

from ingress.answers import Response
from ingress.edge import Edge
from ingress.logs import configure_logs
from ingress.settings import load_settings
from ingress.warm import Warm


async def _open() -> Edge:
    configure_logs()
    edge = Edge(load_settings())
    # Not probed first: the request that waits asks both dependencies itself.
    await edge.start(probe=False)
    return edge


_warm = Warm(_open)


def handler(event: Mapping[str, Any], _context: object) -> Response:
    """One invocation. Raises spine.rungs.PostureError or ingress.settings.SettingsError where the settings forbid to serve."""
    return _warm.run(lambda edge: edge.handle(event))
