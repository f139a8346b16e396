"""`python -m ingress.publish_schemas --registry NAME`: the released schemas of this tree become versions in Glue's registry.

Before anything is written every schema is held against the registry's newest version of it (ingress.compatibility): one that breaks it
keeps all of them out, since the edge of a release needs all. What stands already is left alone, so the command may be repeated.
"""

import argparse
import asyncio
import json
import sys
from enum import StrEnum
from typing import NamedTuple

from ingress.aws_json import ServiceError
from ingress.compatibility import breaks
from ingress.glue import AVAILABLE, SchemaRegistry, definition_of, name_of
from ingress.released import FOLDER

# Glue checks a version behind the call that brought it; it takes a second or two.
_LOOKS = 60
_LOOK_EVERY_S = 0.5


class Change(StrEnum):
    """What a schema is to the registry."""

    STANDS = "stands"
    FIRST = "first"
    ADDS = "adds"


class Plan(NamedTuple):
    """What is to be done about one schema, and why it must not be."""

    name: str
    definition: str
    change: Change
    breaks: tuple[str, ...] = ()


def contracts() -> list[tuple[str, str]]:
    """(event type, version) of every released schema."""
    return sorted((path.parent.name, path.stem) for path in FOLDER.glob("*/*.json"))


async def plan(registry: SchemaRegistry) -> list[Plan]:
    """Each schema against the registry, nothing written. Raises ServiceError."""
    return [await _plan(registry, name_of(*each), definition_of(*each)) for each in contracts()]


async def _plan(registry: SchemaRegistry, name: str, definition: str) -> Plan:
    if await registry.find(name, definition) is not None:
        return Plan(name, definition, Change.STANDS)
    latest = await registry.latest(name)
    if latest is None:
        return Plan(name, definition, Change.FIRST)
    return Plan(name, definition, Change.ADDS, tuple(breaks(json.loads(latest.definition), json.loads(definition))))


async def publish(registry: SchemaRegistry) -> list[Plan]:
    """Registers what is new, if nothing breaks; what was planned. Raises ServiceError, also where the registry refuses a version."""
    planned = await plan(registry)
    if any(each.breaks for each in planned):
        return planned
    await registry.ensure()
    for each in planned:
        if each.change is Change.FIRST:
            await registry.create(each.name, each.definition)
        elif each.change is Change.ADDS:
            await registry.add(each.name, each.definition)
        await _available(registry, each)
    return planned


async def _available(registry: SchemaRegistry, each: Plan) -> None:
    for _ in range(_LOOKS):
        found = await registry.find(each.name, each.definition)
        if found is not None and found.status == AVAILABLE:
            return
        if found is not None and found.status != "PENDING":
            raise ServiceError(f"{each.name}: the registry made it {found.status}")
        await asyncio.sleep(_LOOK_EVERY_S)
    raise ServiceError(f"{each.name}: the registry has not released it within {_LOOKS * _LOOK_EVERY_S:g} s")


async def _run(arguments: argparse.Namespace) -> int:
    url = arguments.endpoint or f"https://glue.{arguments.region}.amazonaws.com"
    registry = SchemaRegistry(url, arguments.region, arguments.registry)
    try:
        await registry.start()
        try:
            planned = await (plan if arguments.check else publish)(registry)
        finally:
            await registry.stop()
    except ServiceError as error:
        sys.stderr.write(f"{arguments.registry} at {url}: {error}\n")
        return 1
    broken = [each for each in planned if each.breaks]
    for each in broken:
        for what in each.breaks:
            sys.stderr.write(f"{each.name}: {what}: give the changed contract a version of its own\n")
    if not broken:
        for each in planned:
            sys.stdout.write(f"{each.change:6} {each.name}\n")
    return 1 if broken else 0


def main() -> None:
    """Exit status 1 where a schema breaks its predecessor, with each break, or where the registry can't be asked."""
    parser = argparse.ArgumentParser(prog="python -m ingress.publish_schemas", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--registry", required=True, help="its name; made if it is missing")
    parser.add_argument("--region", default="eu-west-2")
    parser.add_argument("--endpoint", default="", help="another address than the region's own")
    parser.add_argument("--check", action="store_true", help="say what would be done, and do nothing")
    raise SystemExit(asyncio.run(_run(parser.parse_args())))


if __name__ == "__main__":
    main()
