"""fp audit and fp replay: recompute what was certified, and apply it once more."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.where import Bootstrap, Dsn, Prefix, Service, target_of, told

if TYPE_CHECKING:
    from audit.findings import Report
    from audit.replay import Replayed


def audit_command(
    service: Service,
    dsn: Dsn,
    bootstrap: Bootstrap = "",
    prefix: Prefix = "",
    topic: Annotated[str, typer.Option(help="only the certificates that cover this topic")] = "",
    start: Annotated[int, typer.Option("--from", min=0, help="first offset")] = 0,
    stop: Annotated[int, typer.Option("--to", min=0, help="offset after the last; without it, the end")] = 2**62,
    partition: Annotated[int | None, typer.Option(help="of the topic; without it, each")] = None,
) -> None:
    """Recompute every certificate from the topics and the tables; exit 1 and name the first that differs, and why."""
    from audit.auditor import Section, audit  # noqa: PLC0415  only the command that runs needs it

    section = Section(topic, start, stop, partition) if topic else None
    begun = time.perf_counter()
    with told():
        report = asyncio.run(audit(target_of(service, dsn, bootstrap, prefix), section))
    _show(f"audit of {service}", report, time.perf_counter() - begun)
    if not report.ok:
        raise typer.Exit(1)


def replay_command(
    service: Service,
    dsn: Dsn,
    bootstrap: Bootstrap = "",
    prefix: Prefix = "",
    start: Annotated[str, typer.Option("--from", help="first lane_seq, or the time (ISO 8601, UTC) at which it was applied")] = "",
    stop: Annotated[str, typer.Option("--to", help="the lane_seq or the time before which it ends")] = "",
    lane: Annotated[int | None, typer.Option(help="one lane; without it, each")] = None,
    pack: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="another policy pack: lists the decisions that flip")
    ] = None,
    phase: Annotated[str, typer.Option(help="the deployment's phase id, which outputs carry")] = "P6",
) -> None:
    """Apply a range once more on a shadow schema: identical, or what differs and where; exit 1 where anything does."""
    from audit.offline import declared, offline_settings  # noqa: PLC0415  only the command that runs needs it
    from audit.replay import Span, replay  # noqa: PLC0415  only the command that runs needs it

    settings = offline_settings(phase)
    span = Span(_bound("--from", start), _bound("--to", stop), lane)
    begun = time.perf_counter()
    with told():
        target = target_of(service, dsn, bootstrap, prefix)
        replayed = asyncio.run(replay(target, declared(service, settings, pack), settings, span, flips=pack is not None))
    _show(f"replay of {service}", replayed.report, time.perf_counter() - begun)
    if pack is not None:
        _show_flips(pack, replayed)
    if not replayed.ok:
        raise typer.Exit(1)


def _bound(option: str, text: str) -> int | datetime | None:
    if not text:
        return None
    if text.isdigit():
        return int(text)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is neither a lane_seq nor a time: write 17 or 2026-01-05T10:00:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _show(what: str, report: "Report", seconds: float) -> None:
    for found in report.findings:
        typer.echo(str(found))
    if report.found > len(report.findings):
        typer.echo(f".. and {report.found - len(report.findings)} more")
    figures = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in sorted(report.figures.items()))
    typer.echo(f"{what}: {'PASS' if report.ok else 'FAIL'}, {report.found} findings; {figures}; {seconds:.1f} s")


def _show_flips(pack: Path, replayed: "Replayed") -> None:
    flips = replayed.flips
    typer.echo(f"under {pack.name}: {flips.flipped:,} of {flips.decisions:,} decisions flip")
    for (was, now), count in sorted(flips.kinds.items(), key=lambda entry: -entry[1]):
        typer.echo(f"  {was} -> {now}: {count:,}")
    for rule, count in sorted(flips.rules_gone.items(), key=lambda entry: -entry[1]):
        typer.echo(f"  no longer hit by {rule}: {count:,}")
    for rule, count in sorted(flips.rules_new.items(), key=lambda entry: -entry[1]):
        typer.echo(f"  now hit by {rule}: {count:,}")
    for flip in flips.first[:20]:
        typer.echo(f"  {flip.place} event {flip.source_event_id}: {flip.was} -> {flip.now}")
    if flips.only_recorded or flips.only_replayed:
        typer.echo(f"  decided only as recorded: {flips.only_recorded:,}; only in the replay: {flips.only_replayed:,}")
