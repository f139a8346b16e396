"""fp edge: the edge on this machine, its handler under Lambda's own runtime client."""

import asyncio
import hashlib
import os
import secrets
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from laws.topics import TOPICS
from spine.provision import apply
from testkit.engines import Kind, borrowed


def edge(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8080,
    sandboxes: Annotated[int, typer.Option(min=0, max=16, help="requests at once; 0 serves them in one process, without the runtime")] = 2,
    run: Annotated[str, typer.Option(help="the active run; one that starts now if none is named")] = "",
    key: Annotated[str, typer.Option(envvar="FP_EDGE_KEY", help="API key; one is made up and shown if none is given")] = "",
    archive: Annotated[Path, typer.Option(help="where receipts and quarantine records go, each object a file")] = Path("runs/edge"),
    rounds: Annotated[float, typer.Option(min=0.1, help="seconds between two rounds of the reconciler and of the archive")] = 60.0,
) -> None:
    """Serve the edge on the kept engines (fp up), or on engines of its own, until SIGINT or SIGTERM, which drain it.

    Makes the topics and tables that are missing. Its reconciler and its archive run beside it.
    """
    key = key or secrets.token_hex(16)
    active = run or datetime.now(UTC).strftime("platform_%Y%m%dT%H%M%SZ")
    with borrowed({Kind.KAFKA, Kind.DYNAMODB}) as engines:
        found = engines.endpoints
        asyncio.run(apply({"bootstrap_servers": found.kafka_bootstrap}, TOPICS, ""))
        environment = {
            "FP_ENV": "local_parity",
            "FP_IG_RELEASE_ID": "local",
            "FP_IG_ACTIVE_RUN": active,
            "FP_IG_API_KEY_HASHES": hashlib.sha256(key.encode()).hexdigest(),
            "FP_IG_KAFKA_BOOTSTRAP": found.kafka_bootstrap,
            "FP_IG_KAFKA_SECURITY": "PLAINTEXT",
            "FP_IG_REGION": "local",
            "FP_IG_DYNAMODB_ENDPOINT": found.dynamodb_endpoint,
            # DynamoDB Local takes any credentials, and wants some.
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        typer.echo(f"run {active}, X-IG-Api-Key: {key}")
        argv = [sys.executable, "-m", "ingress", "--port", str(port), "--sandboxes", str(sandboxes), "--ensure-tables"]
        argv += ["--archive", str(archive), "--reconcile-every", str(rounds)]
        code = _served(argv, {**os.environ, **environment})
    raise typer.Exit(code)


def _served(argv: list[str], environment: dict[str, str]) -> int:
    """Runs the edge to its end; its exit status. SIGTERM goes on to it: ended ourselves, we would leave it behind without engines."""
    served: subprocess.Popen[bytes] | None = None

    def forward(*_: object) -> None:
        if served is None:
            raise SystemExit(128 + signal.SIGTERM)
        served.terminate()

    signal.signal(signal.SIGTERM, forward)
    served = subprocess.Popen(argv, env=environment)  # noqa: S603  our own interpreter and module
    while True:
        try:
            return served.wait()
        except KeyboardInterrupt:
            continue  # the terminal has told it as well; it answers what it has accepted first
