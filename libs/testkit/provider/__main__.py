"""python -m testkit.provider: runs the provider until SIGTERM or SIGINT.

It prints one JSON line with its port once it is ready.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from testkit.provider.book import Book
from testkit.provider.faults import FaultRates
from testkit.provider.service import Provider

MAX_BODY_BYTES = 65_536
"""An action's description is a few hundred bytes; more is a client's mistake."""
SHUTDOWN_S = 5.0
"""How long open requests may take to finish after SIGTERM; longer than the longest default delay."""


def _arguments() -> argparse.Namespace:
    defaults = FaultRates()
    parser = argparse.ArgumentParser(prog="testkit.provider", description="The outside provider of the action layer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--journal", type=Path, required=True, help="append-only file, created if absent")
    parser.add_argument("--max-body", type=int, default=MAX_BODY_BYTES, help="bytes")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--delay-ms", type=int, default=defaults.delay_ms)
    for name in ("unavailable", "lost-before", "lost-after", "delayed", "refused"):
        parser.add_argument(f"--{name}", type=float, default=getattr(defaults, name.replace("-", "_")), help="share in 0..1")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    faults = FaultRates(
        seed=options.seed,
        unavailable=options.unavailable,
        lost_before=options.lost_before,
        lost_after=options.lost_after,
        delayed=options.delayed,
        delay_ms=options.delay_ms,
        refused=options.refused,
    )
    book = Book(options.journal)
    runner = web.AppRunner(Provider(book, faults, options.max_body).app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.port).start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(json.dumps({"ready": True, "host": host, "port": port}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await runner.cleanup()
    await book.close()


if __name__ == "__main__":
    uvloop.run(_serve(_arguments()))
