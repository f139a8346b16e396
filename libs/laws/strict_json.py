"""Reading JSON so that its canonical form says what its author wrote.

A lenient reader drops a repeated key, rounds a number or keeps half of a surrogate pair, and then hashes something that
nobody sent. This one refuses, and names the field.
"""

import json
import re
from collections.abc import Iterator
from math import isinf
from typing import Any, Final, NoReturn

from laws.canonical import (
    LONE_SURROGATE,
    MAX_DEPTH,
    NUMBER_NOT_EXACT,
    NUMBER_NOT_FINITE,
    TOO_DEEP,
    JsonValue,
    decimal_parts,
    has_lone_surrogate,
    json_pointer,
    number_form,
)

__all__ = [
    "DUPLICATE_KEY",
    "LONE_SURROGATE",
    "MALFORMED_JSON",
    "NOT_UTF8",
    "NUMBER_NOT_EXACT",
    "NUMBER_NOT_FINITE",
    "TOO_DEEP",
    "StrictJsonError",
    "parse_strict",
]

DUPLICATE_KEY: Final = "DUPLICATE_KEY"
MALFORMED_JSON: Final = "MALFORMED_JSON"
NOT_UTF8: Final = "NOT_UTF8"

EXCERPT_CHARS: Final = 40
"""Enough to recognise a value in the producer's log, too little to carry a payload into ours."""

_PLAIN_DIGITS: Final = 15  # any integer of so few characters is below 2**53, hence exact, and quick to convert
_SHORTEST_EXPONENTIAL: Final = 1e21  # from here on ECMAScript writes an exponent (RFC 8785 section 3.2.2.3)

# A string, closed or not, or a run of anything that neither nests nor opens a string. The possessive repeats and the
# optional closing quote keep it linear: a body of a million quotes must not buy a quadratic scan.
_NOT_NESTING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[^\[\]{}"]++', re.DOTALL)
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class StrictJsonError(ValueError):
    """A document was refused. The error is data: `reason` is one of this module's constants, `path` a JSON pointer
    (RFC 6901; "" is the whole document), `excerpt` the start of what was refused, in ASCII, and `offset` the byte at which
    reading stopped, where reading stopped at one (MALFORMED_JSON, NOT_UTF8)."""

    def __init__(self, reason: str, path: str, excerpt: str, offset: int | None = None) -> None:
        where = path or ("the document" if offset is None else f"byte {offset}")
        super().__init__(f"{reason} at {where}: {excerpt}")
        self.reason = reason
        self.path = path
        self.excerpt = excerpt
        self.offset = offset


def parse_strict(raw: bytes, *, max_depth: int = 64) -> JsonValue:
    """Read one JSON document (RFC 8259) whose canonical form (RFC 8785) keeps its meaning.

    A number is accepted if its literal has the same value as the shortest form that RFC 8785 writes for it (architecture.md,
    "Exact numbers"): 19.99, 0.10 and 1e2 are, 2^53 + 1, 1e400 and 1e-400 are not. Numbers come back as reading their
    canonical form gives them, so 1.0 is the integer 1 and -0 is 0, and parse_strict(canonical_json(parse_strict(raw))) is
    parse_strict(raw), types included.

    Raises StrictJsonError with NOT_UTF8 (a byte order mark included, RFC 8259 section 8.1), MALFORMED_JSON, TOO_DEEP,
    DUPLICATE_KEY, NUMBER_NOT_EXACT, NUMBER_NOT_FINITE (NaN, Infinity) or LONE_SURROGATE; of several faults that leave the
    syntax whole the first in the document is named. `max_depth` counts containers within containers; ValueError above
    laws.canonical.MAX_DEPTH, since what is read must be writable.
    """
    if max_depth > MAX_DEPTH:
        raise ValueError(f"max_depth {max_depth} is more than the {MAX_DEPTH} levels that can be written")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise StrictJsonError(NOT_UTF8, "", raw[error.start : error.end].hex(" "), error.start) from None
    if text.startswith("\ufeff"):
        raise StrictJsonError(NOT_UTF8, "", "byte order mark", 0)
    # Before the parser runs: it would meet the interpreter's recursion limit, at a depth that depends on our caller.
    if text.count("[") + text.count("{") > max_depth and _is_deeper(text, max_depth):
        raise StrictJsonError(TOO_DEEP, "", f"more than {max_depth} levels")
    try:
        value: JsonValue = _decode(_READER, text)
    except _SuspectError:
        raise _first_fault(text) from None
    if _SURROGATE_ESCAPE.search(text) and has_lone_surrogate(_WRITE_RAW(value)):
        raise _first_fault(text)
    return value


def _decode(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        at = error.pos
        raise StrictJsonError(MALFORMED_JSON, "", _excerpt(text[at : at + EXCERPT_CHARS]), len(text[:at].encode())) from None


def _is_deeper(text: str, max_depth: int) -> bool:
    depth = 0
    for mark in _NOT_NESTING.sub("", text):
        depth += 1 if mark in "[{" else -1
        if depth > max_depth:
            return True
    return False


def _excerpt(text: str) -> str:
    shown = text[:EXCERPT_CHARS].encode("ascii", "backslashreplace").decode()
    return shown if len(text) <= EXCERPT_CHARS else shown + "..."


def _exact_number(literal: str) -> int | float | None:
    """The number that a literal says, or None if no double says it.

    Never hands the digits of an unbounded literal to int(): that raises an unnamed error above 4300 of them, and is
    quadratic below. float() is linear.
    """
    value = float(literal)
    if isinf(value):
        return None
    if value == 0:
        # Before the exponents are compared: that of 0e99.. or 1e-99.. may be longer than int() takes.
        significand = literal.lower().partition("e")[0]
        return None if significand.strip("-0.") else 0
    if decimal_parts(literal) != decimal_parts(repr(value)):
        return None
    if value.is_integer() and abs(value) < _SHORTEST_EXPONENTIAL:
        # Not int(value): above 2**53 the double's own digits differ from the shortest form, which is what was written.
        return int(number_form(value))
    return value


class _SuspectError(Exception):
    """The quick reader met a duplicate key or a number that is not exact; it can't say where."""


def _number(literal: str) -> int | float:
    number = _exact_number(literal)
    if number is None:
        raise _SuspectError
    return number


def _integer(literal: str) -> int | float:
    return int(literal) if len(literal) <= _PLAIN_DIGITS else _number(literal)


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _SuspectError
    return members


def _constant(literal: str) -> NoReturn:
    raise _SuspectError


class _Pairs(list[tuple[str, Any]]):
    """An object's members as written, duplicates included."""


class _Number(str):
    """A number's literal as written, NaN and Infinity included."""

    __slots__ = ()


_READER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_float=_number, parse_int=_integer, parse_constant=_constant)
_TREE_READER: Final = json.JSONDecoder(object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
_WRITE_RAW: Final = json.JSONEncoder(ensure_ascii=False).encode


def _first_fault(text: str) -> StrictJsonError:
    """Read a refused document again, keeping what the quick reader throws away, and name the first fault in it."""
    return next(_faults(_decode(_TREE_READER, text), []))


def _faults(node: object, trail: list[str | int]) -> Iterator[StrictJsonError]:
    if isinstance(node, _Pairs):
        seen: set[str] = set()
        for name, item in node:
            # At the object's own path: a pointer with a lone surrogate could not be written into any record.
            if has_lone_surrogate(name):
                yield StrictJsonError(LONE_SURROGATE, json_pointer(trail), _excerpt(name))
            if name in seen:
                yield StrictJsonError(DUPLICATE_KEY, json_pointer([*trail, name]), _excerpt(name))
            seen.add(name)
            yield from _faults(item, [*trail, name])
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _faults(item, [*trail, index])
    elif isinstance(node, _Number):
        if node.lstrip("-") in ("NaN", "Infinity"):
            yield StrictJsonError(NUMBER_NOT_FINITE, json_pointer(trail), _excerpt(node))
        elif _exact_number(node) is None:
            yield StrictJsonError(NUMBER_NOT_EXACT, json_pointer(trail), _excerpt(node))
    elif isinstance(node, str) and has_lone_surrogate(node):
        yield StrictJsonError(LONE_SURROGATE, json_pointer(trail), _excerpt(node))
