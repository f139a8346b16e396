"""S3 on this machine, as far as the edge asks: objects written once and read back, each a file of a folder that anybody can look into."""

import asyncio
import os
import secrets
from pathlib import Path

from aiohttp import web

# Above every object that the edge writes: a payload of 1 MiB, the receipts of one batch.
_LARGEST = 16 * 1024 * 1024


class FolderStore:
    """Serves a folder over S3's protocol on a free port of the loopback. Signatures are not checked; a key stands once and for ever."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Serves when it returns. Raises OSError where the folder can't be made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_put("/{key:.+}", self._put)
        app.router.add_get("/{key:.+}", self._get)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Ends the server; the files stay."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _put(self, request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") != "*":
            return web.Response(status=501, text="only If-None-Match: * is served here")
        written = await asyncio.to_thread(_write_once, self._path(request), await request.read())
        return web.Response(status=200 if written else 412)

    async def _get(self, request: web.Request) -> web.Response:
        path = self._path(request)
        return web.Response(body=await asyncio.to_thread(path.read_bytes)) if path.is_file() else web.Response(status=404)

    def _path(self, request: web.Request) -> Path:
        path = (self._folder / request.match_info["key"]).resolve()
        if self._folder not in path.parents:
            raise web.HTTPBadRequest(text="a key names a place below the folder")
        return path


def _write_once(path: Path, body: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it first: what is read is whole, and of two that write at once one finds the other's.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(body)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
