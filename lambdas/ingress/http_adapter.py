"""A local stand-in for API Gateway: real HTTP requests become its events, and the edge's responses become real ones."""

import asyncio
import base64
import json
import signal
import sys
import time
import uuid
from typing import Any

from aiohttp import web

from ingress.edge import HEALTH, PUSH
from ingress.local import Served
from ingress.settings import EdgeSettings

# Longer than the idle timeout of a load balancer (60 s): else it would send into a connection that we just closed (lesson L10).
_KEEPALIVE_S = 75.0


class Adapter:
    """Serves what stands behind it on one port until it is told to end."""

    def __init__(self, served: Served, settings: EdgeSettings, host: str, port: int) -> None:
        self._served = served
        self._settings = settings
        self._host = host
        self._port = port
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Returns when SIGTERM or SIGINT came and every request that was accepted has its answer.

        Prints {"service", "port"} as one line on stdout once it serves. Raises OSError where the port is taken.
        """
        # Without an application: its routes, signals and contexts are for others than the one handler that looks at everything.
        server = web.Server(self._handle, keepalive_timeout=_KEEPALIVE_S, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=self._settings.request_timeout_s)
        await runner.setup()
        await self._served.start()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._ended.set)
            port = runner.addresses[0][1]
            sys.stdout.write(json.dumps({"service": "ingress", "port": port}) + "\n")
            sys.stdout.flush()
            await self._ended.wait()
        finally:
            await runner.cleanup()
            await self._served.stop()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.headers.get("Expect", "").lower() == "100-continue":
            # A client that asks first waits a second for this line before it sends its body all the same.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read(request, self._settings.max_body_bytes)
        answer = await self._served.handle(_event(request, body))
        return web.Response(status=answer["statusCode"], headers=answer["headers"], body=answer["body"].encode())


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    """The body, or as much of it as shows that it is too long."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _event(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    try:
        text, is_base64 = body.decode(), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode(), True
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        # API Gateway joins what came several times.
        headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    path = request.rel_url.path
    known = (request.method, path) in (PUSH, HEALTH)
    return {
        "version": "2.0",
        "routeKey": f"{request.method} {path.removeprefix('/v1')}" if known else "$default",
        "rawPath": path,
        "rawQueryString": request.rel_url.query_string,
        "headers": headers,
        "requestContext": {
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.remote or "",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "stage": "v1",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }
