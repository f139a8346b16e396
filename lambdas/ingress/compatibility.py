"""Whether one JSON Schema may follow another under the same version: additive only (domain.md 2.13). Pure.

Whatever was lawful stays lawful, and whoever reads the new form finds everything that the old one promised. Glue's registry accepts
incompatible schemas on an emulator (engines.md), so the check is our own and runs with the tests.
"""

from collections.abc import Iterator
from typing import Any

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Every change of `new` against `old` that is not additive, as words with the place; empty where there is none."""
    return list(_compare(old, new, old, new, "$"))


def _compare(old: Any, new: Any, old_root: dict[str, Any], new_root: dict[str, Any], at: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if missing := _types(old) - _types(new):
        yield f"{at}: no longer takes {', '.join(sorted(missing))}"
    yield from _bounds(old, new, at)
    if "enum" in new:
        if "enum" not in old:
            yield f"{at}: takes named values only"
        elif gone := [value for value in old["enum"] if value not in new["enum"]]:
            yield f"{at}: no longer takes {gone}"
    if new.get("pattern") != old.get("pattern") and "pattern" in new:
        yield f"{at}: another pattern"
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        yield f"{at}.{name}: is required now"
    for name in set(old.get("required", ())) - set(new.get("required", ())):
        yield f"{at}.{name}: is no longer promised"
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name in after:
            yield from _compare(schema, after[name], old_root, new_root, f"{at}.{name}")
        else:
            yield f"{at}.{name}: is gone"
    if old.get("additionalProperties", True) is not False and new.get("additionalProperties", True) is False:
        yield f"{at}: takes no further fields"
    if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
        yield from _compare(old["items"], new["items"], old_root, new_root, f"{at}[]")


def _bounds(old: dict[str, Any], new: dict[str, Any], at: str) -> Iterator[str]:
    for name in _LOWER:
        if name in new and (name not in old or new[name] > old[name]):
            yield f"{at}: {name} is {new[name]}, was {old.get(name, 'open')}"
    for name in _UPPER:
        if name in new and (name not in old or new[name] < old[name]):
            yield f"{at}: {name} is {new[name]}, was {old.get(name, 'open')}"


def _resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """A schema without its reference, and without the null beside one other (an optional field)."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return {**_resolved(options[0], root), "nullable": True}
    return dict(schema)


def _types(schema: dict[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return {str(option.get("$ref", option.get("type"))) for option in schema["anyOf"]}
    kinds = {"string"} if "enum" in schema and "type" not in schema else {str(schema.get("type"))}
    return kinds | ({"null"} if schema.get("nullable") else set())
