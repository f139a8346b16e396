"""fp bench: measurements of the whole spine (docs/performance.md)."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def spine(
    rate: Annotated[float, typer.Option(min=1, help="admitted events a second")] = 3000.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="of the steady part")] = 10.0,
    burst: Annotated[float, typer.Option(min=0, help="admitted events a second of a burst after it; 0: none")] = 0.0,
    burst_seconds: Annotated[float, typer.Option(min=1, help="of the burst")] = 60.0,
    after_seconds: Annotated[float, typer.Option(min=1, help="at the rate again, to see it recover")] = 180.0,
    search: Annotated[bool, typer.Option("--search", help="find the highest rate that holds first, and measure at that one")] = False,
    search_seconds: Annotated[float, typer.Option(min=5, help="of each rate that is tried")] = 40.0,
    workers: Annotated[str, typer.Option(help="processes by service, as decision_fabric=2,action_layer=1; else one each")] = "",
    table: Annotated[str, typer.Option(help="the edge's admission rows: memory or dynamodb")] = "memory",
    array: Annotated[int, typer.Option(min=1, max=2000, help="bodies of one request")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="of the world and of the provider's faults")] = 42,
    profile: Annotated[bool, typer.Option("--profile", help="sample every process: a table of CPU by service and step")] = False,
    out: Annotated[Path, typer.Option(help="where the run's folder goes")] = Path("runs/bench_spine"),
) -> None:
    """The whole platform under a load that waits for nobody; ends reconciled, with latency, backlog, memory and CPU over time."""
    # Imported here and below: matplotlib takes a second that the other commands need not wait.
    from testkit.bench.plan import SpineOptions  # noqa: PLC0415  only the command that runs needs it
    from testkit.bench.spine import measure  # noqa: PLC0415  loaded by this command alone

    options = SpineOptions(
        rate=rate,
        minutes=minutes,
        burst=burst,
        burst_seconds=burst_seconds,
        after_seconds=after_seconds,
        search=search,
        search_seconds=search_seconds,
        workers=_workers(workers),
        table=table,
        array=array,
        seed=seed,
        profile=profile,
        runs=out,
    )
    if not asyncio.run(measure(options, typer.echo)):
        raise typer.Exit(1)


def _workers(text: str) -> dict[str, int]:
    try:
        return {name: int(count) for name, _, count in (part.partition("=") for part in text.split(",") if part)}
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write service=count, with commas between", param_hint="--workers") from error


@app.command()
def rules(
    sizes: Annotated[str, typer.Option(help="rules of each pack, with commas between")] = "16,100,400",
) -> None:
    """What a pack of N rules costs an event, beside a plain evaluation of the same pack."""
    from testkit.bench.rules import GOAL_US, measure  # noqa: PLC0415  loaded by this command alone

    costs = measure([int(size) for size in sizes.split(",")])
    for cost in costs:
        typer.echo(f"{cost.rules:>5} rules, {cost.hits:5.2f} hold: {cost.us:6.1f} us an event; rule by rule {cost.plain_us:7.1f} us")
    hundred = [cost.us for cost in costs if cost.rules == 100]
    if hundred:
        typer.echo(f"{'met' if max(hundred) <= GOAL_US else 'MISSED'}: 100 rules cost {max(hundred):.1f} us (goal {GOAL_US:g})")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part.replace("_", "")) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: write whole numbers with commas between") from error


@app.command()
def growth(
    rows: Annotated[str, typer.Option(help="sizes of the inbox; 50000000 takes twelve gigabytes and some minutes more")] = (
        "0,1000000,10000000"
    ),
    partitions: Annotated[str, typer.Option(help="how many of the six hold the events")] = "1,2,3,6",
    workers: Annotated[str, typer.Option(help="processes")] = "1,2,4",
    events: Annotated[int, typer.Option(min=1000, help="traffic and anchors of one drain")] = 15_000,
    rounds: Annotated[int, typer.Option(min=1, help="in which every point takes its turn; medians count")] = 3,
    out: Annotated[Path, typer.Option(help="where growth.json goes")] = Path("runs/bench_growth"),
) -> None:
    """What an event costs a law service as its inbox, its partitions and its workers grow."""
    from testkit.bench.growth import GrowthOptions, measure  # noqa: PLC0415  loaded by this command alone

    out.mkdir(parents=True, exist_ok=True)
    options = GrowthOptions(_numbers(rows), _numbers(partitions), _numbers(workers), events, rounds, out)
    asyncio.run(measure(options, typer.echo))


@app.command()
def handover(
    rate: Annotated[float, typer.Option(min=1, help="events a second")] = 1000.0,
    seconds: Annotated[float, typer.Option(min=10, help="of each scenario")] = 24.0,
    workers: Annotated[int, typer.Option(min=1, max=6, help="before one joins, or after one is gone")] = 2,
    scenarios: Annotated[str, typer.Option(help="of join, sigterm and sigkill, with commas between")] = "join,sigterm,sigkill",
    group: Annotated[bool, typer.Option("--group/--no-group", help="the same law on a consumer group beside it")] = True,
    rounds: Annotated[int, typer.Option(min=1, help="of each scenario")] = 1,
    out: Annotated[Path, typer.Option(help="where handover.json goes")] = Path("runs/bench_handover"),
) -> None:
    """The longest delay of any event when a worker joins, is told to end, and is killed; with leases, and with a consumer group."""
    from testkit.bench.handover import HandoverOptions, measure  # noqa: PLC0415  loaded by this command alone

    out.mkdir(parents=True, exist_ok=True)
    options = HandoverOptions(
        rate=rate, seconds=seconds, workers=workers, scenarios=tuple(scenarios.split(",")), group=group, rounds=rounds, out=out
    )
    found = asyncio.run(measure(options, typer.echo))
    if not all(delays.met for delays in found if delays.owner == "lease"):
        raise typer.Exit(1)


@app.command()
def world(
    sizes: Annotated[str, typer.Option(help="valid events at which to look; ten million take about four minutes")] = (
        "100000,1000000,10000000"
    ),
) -> None:
    """What a step of the world costs, and what playing one holds in memory as it grows."""
    from testkit.bench.world import measure, verdicts  # noqa: PLC0415  loaded by this command alone

    said = verdicts(measure(list(_numbers(sizes)), typer.echo))
    for met, text in said:
        typer.echo(f"{'met   ' if met else 'MISSED'} {text}")
    if not all(met for met, _ in said):
        raise typer.Exit(1)


@app.command()
def retention(
    rows: Annotated[int, typer.Option(min=1000, help="identities of the run that is dropped")] = 10_000_000,
    rate: Annotated[float, typer.Option(min=1, help="events a second meanwhile")] = 500.0,
    out: Annotated[Path, typer.Option(help="where retention.json goes")] = Path("runs/bench_retention"),
) -> None:
    """Drop a closed run under a working service: the longest stall of any event, and what becomes of late records."""
    from testkit.bench.retention import RetentionOptions, line_of, measure  # noqa: PLC0415  loaded by this command alone

    out.mkdir(parents=True, exist_ok=True)
    typer.echo(line_of(asyncio.run(measure(RetentionOptions(rows=rows, rate=rate, out=out), typer.echo))))
