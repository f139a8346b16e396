"""fp handovers: what became of the lanes' ownership."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from statistics import median
from typing import Annotated

import asyncpg
import typer

from spine.handovers import HandoverEvent
from spine.tables import quote

_LIST = """
SELECT at, lane, epoch, event, worker_id, reason, duration_ms FROM handover
WHERE ($1::int IS NULL OR lane = $1) AND ($2::timestamptz IS NULL OR at >= $2)
ORDER BY at DESC, handover_no DESC LIMIT $3
"""

# What a duration says of its event (spine.handovers).
_DURATIONS = {HandoverEvent.CLAIMED: "without an owner", HandoverEvent.READY: "since the claim", HandoverEvent.DRAINED: "of draining"}


def handovers(
    service: Annotated[str, typer.Option(help="the service, which is also its schema")],
    dsn: Annotated[str, typer.Option(envvar="FP_OPERATOR_URL", help="the operator's login to the services' database")],
    lane: Annotated[int | None, typer.Option(help="this lane only")] = None,
    since: Annotated[str | None, typer.Option(help="from this instant on, ISO 8601; UTC where no offset is given")] = None,
    limit: Annotated[int, typer.Option(min=1, help="the newest so many")] = 200,
) -> None:
    """Claims, releases, fences and stops of a service's lanes, newest last; then, of those, how often, and how long lanes had no owner."""
    start = _instant(since) if since is not None else None

    async def read() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"SET search_path = {quote(service)}")
            return await connection.fetch(_LIST, lane, start, limit)
        finally:
            await connection.close()

    rows = list(reversed(asyncio.run(read())))
    for row in rows:
        typer.echo(line(row))
    typer.echo(summary(service, rows))


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 instant: write 2026-01-05T00:00:00Z", param_hint="--since") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def line(row: asyncpg.Record) -> str:
    """One row for the eye."""
    event = HandoverEvent(row["event"])
    duration = "" if row["duration_ms"] is None else f" {row['duration_ms']} ms {_DURATIONS.get(event, '')}".rstrip()
    reason = f": {row['reason'][:200]}" if row["reason"] else ""
    return f"{row['at']:%Y-%m-%d %H:%M:%S.%f} lane {row['lane']} epoch {row['epoch']} {event} by {row['worker_id']}{duration}{reason}"


def summary(service: str, rows: list[asyncpg.Record]) -> str:
    """How often each event, and the gaps without an owner: those of claims of lanes that had an owner before."""
    counts = Counter(HandoverEvent(row["event"]) for row in rows)
    told = ", ".join(f"{counts[event]} {event}" for event in HandoverEvent if counts[event]) or "nothing"
    gaps = [row["duration_ms"] for row in rows if row["event"] == HandoverEvent.CLAIMED and row["duration_ms"] is not None]
    between = f"longest gap without an owner {max(gaps)} ms, median {median(gaps):g} ms" if gaps else "no lane changed its owner"
    return f"{service}: {told}; {between}"
