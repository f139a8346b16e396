"""The counters' gate: what fixed histories cost now, beside what they cost when the baseline was written.

`python -m benchmarks.counters` compares and exits with 1 where they differ; `--write` writes the baseline anew.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec

from benchmarks.counting.measure import Cost, Costs, measure
from testkit.engines import borrowed

BASELINE = Path(__file__).parents[1] / "tests/benchmarks/baseline.json"

# Everything else is the same in every run. WAL need not be: how a page splits and what a statement may prune on its way depends on what
# other transactions of the engine still see.
WAL_TOLERANCE = 0.05

ADVICE = "better or meant? Write the baseline anew: .venv/bin/python -m benchmarks.counters --write"


def load(path: Path = BASELINE) -> Costs:
    """The checked-in costs."""
    return msgspec.json.decode(path.read_bytes(), type=Costs)


def differences(baseline: Costs, now: Costs) -> list[str]:
    """Sentences that name what costs something else than the baseline says; empty when nothing does."""
    found = [f"{name}: not in the baseline" for name in now.keys() - baseline.keys()]
    found += [f"{name}: not measured any more" for name in baseline.keys() - now.keys()]
    for name in baseline.keys() & now.keys():
        for shape in sorted(baseline[name].keys() | now[name].keys()):
            before, after = baseline[name].get(shape), now[name].get(shape)
            if before is None or after is None:
                found.append(f"{name}, {shape}: only {'measured' if before is None else 'in the baseline'}")
            else:
                found += [f"{name}, {shape}: {line}" for line in _differences(before, after)]
    return found


def _differences(before: Cost, after: Cost) -> list[str]:
    found = []
    for field in ("batches", "events", "outputs", "round_trips", "bytes_out", "bytes_in"):
        was, is_ = getattr(before, field), getattr(after, field)
        if was != is_:
            found.append(f"{field} {is_:,}, the baseline says {was:,} ({_share(was, is_)})")
    for text in sorted(before.statements.keys() | after.statements.keys()):
        was, is_ = before.statements.get(text, 0), after.statements.get(text, 0)
        if was != is_:
            found.append(f"{is_} executions, the baseline says {was}, of: {_short(text)}")
    if abs(after.wal_bytes - before.wal_bytes) > WAL_TOLERANCE * before.wal_bytes:
        found.append(f"wal_bytes {after.wal_bytes:,}, the baseline says {before.wal_bytes:,} ({_share(before.wal_bytes, after.wal_bytes)})")
    return found


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} .."


# A statement's beginning names its verb and its table.
_SHOWN = 200


def _share(was: int, is_: int) -> str:
    return f"{100 * (is_ - was) / was:+.1f} %" if was else "new"


def table(costs: Costs) -> str:
    """Per batch and per event, for the eye."""
    head = ("history", "statements/batch", "round trips/batch", "to the store/event", "from it/event", "WAL/event")
    lines = ["{:<34}{:>18}{:>19}{:>20}{:>15}{:>11}".format(*head)]
    for name, shapes in costs.items():
        for shape, cost in shapes.items():
            statements = sum(cost.statements.values())
            lines.append(
                f"{name + ', ' + shape:<34}{statements / cost.batches:>18.2f}{cost.round_trips / cost.batches:>19.2f}"
                f"{cost.bytes_out / cost.events:>18,.0f} B{cost.bytes_in / cost.events:>13,.0f} B{cost.wal_bytes / cost.events:>9,.0f} B"
            )
    return "\n".join(lines)


async def _measured() -> Costs:
    with borrowed() as engines:
        return await measure(engines.endpoints)


def main() -> None:
    """Exit code 1 where something differs."""
    parser = argparse.ArgumentParser(prog="counters", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the baseline anew")
    options = parser.parse_args()
    now = asyncio.run(_measured())
    sys.stdout.write(table(now) + "\n")
    found = differences(load(), now) if BASELINE.exists() else [f"{BASELINE} is not there"]
    sys.stdout.write("".join(f"{line}\n" for line in found))
    if options.write:
        BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")
        sys.stdout.write(f"written: {BASELINE}\n")
    elif found:
        sys.stdout.write(ADVICE + "\n")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
