"""Canonical JSON after RFC 8785 (JCS): one value, one sequence of bytes.

Every digest of the platform is taken over these bytes, so two writers that disagree on one byte disagree on identity.
A value that RFC 8785 cannot write without changing it is refused by name, never rounded.
"""

from collections.abc import Collection, Mapping, Sequence
from json.encoder import encode_basestring
from math import isfinite
from typing import Any, Final, TypeAlias

from msgspec.json import Encoder

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What the strict reader returns (laws.strict_json)."""

JsonInput: TypeAlias = "bool | int | float | str | Sequence[JsonInput] | Mapping[str, JsonInput] | None"
"""What can be written: covariant, so that dict[str, str] and tuples pass the type checker. Every JsonValue is a JsonInput."""

NUMBER_NOT_EXACT: Final = "NUMBER_NOT_EXACT"
NUMBER_NOT_FINITE: Final = "NUMBER_NOT_FINITE"
LONE_SURROGATE: Final = "LONE_SURROGATE"
KEY_NOT_STRING: Final = "KEY_NOT_STRING"
TYPE_NOT_JSON: Final = "TYPE_NOT_JSON"
TOO_DEEP: Final = "TOO_DEEP"

MAX_DEPTH: Final = 128
"""Containers within containers. Twice what the strict reader admits, so that whatever was read can be wrapped; a fixed
number, because the interpreter's own recursion limit would make the verdict depend on the caller's stack."""

MAX_PLAIN_INT: Final = 2**53
"""Up to here every integer is a double and its own shortest form (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2)."""

_WIDE: Final = 4096
_LAST_BMP: Final = "\uffff"
_TEXT: Final = frozenset({str})
_LEAVES: Final = frozenset({str, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_ENCODE_SORTED: Final = Encoder(order="sorted").encode


class CanonicalError(ValueError):
    """A value has no canonical form. The error is data: `path` is a JSON pointer (RFC 6901), `reason` one of the
    constants above, `value` the refused value itself."""

    def __init__(self, path: str, value: object, reason: str) -> None:
        # The message leaves the value out: writing an integer of more than 4300 digits would raise an unnamed ValueError.
        super().__init__(f"{reason} at {path or 'the document'} ({type(value).__name__})")
        self.path = path
        self.value = value
        self.reason = reason


def canonical_json(value: JsonInput) -> bytes:
    """The canonical bytes of a value (RFC 8785): members sorted by UTF-16 code units, numbers as ECMAScript writes them,
    the fewest escapes, UTF-8.

    Takes None, bool, int, float, str, list, tuple and mappings with string keys, subclasses included.
    Raises CanonicalError with NUMBER_NOT_EXACT (an integer that differs from the shortest form of its double, see
    architecture.md, "Exact numbers"), NUMBER_NOT_FINITE, LONE_SURROGATE, KEY_NOT_STRING, TYPE_NOT_JSON or TOO_DEEP.
    """
    # What most ids are made of is texts, in a list or by name: nothing in them can differ from what msgspec writes.
    if _is_texts(value) or _is_plain(value):
        try:
            return _ENCODE_SORTED(value)
        except UnicodeEncodeError:
            pass  # a lone surrogate; the writer below finds the field
    writer = _Writer()
    writer.write(value)
    return "".join(writer.parts).encode()


def canonical_plain(value: JsonInput) -> bytes:
    """What canonical_json gives, without asking each item what it is: for a value whose writer knows that it holds nothing but texts, truth
    values, None, whole numbers up to MAX_PLAIN_INT either way, and a few levels of lists, tuples and dicts by text of these.

    Raises CanonicalError with LONE_SURROGATE.
    """
    try:
        encoded = _ENCODE_SORTED(value)
    except (UnicodeEncodeError, TypeError):  # a lone surrogate, or a text of a type of its own
        return canonical_json(value)
    # Of ASCII msgspec writes the canonical form; names beyond the basic plane it sorts differently.
    return encoded if encoded.isascii() else canonical_json(value)


def json_pointer(trail: Sequence[str | int]) -> str:
    """The JSON pointer of a way through a document (RFC 6901 section 3)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in trail)


def decimal_parts(literal: str) -> tuple[str, int]:
    """The magnitude of a JSON number literal as (digits, point), meaning 0.digits * 10**point without leading or trailing zeros.

    Two literals have the same magnitude exactly if their parts are equal. Linear in the literal's length: no number is
    made of the digits, and the exponent is made a number only once its leading zeros are gone.
    Zero is ("", 0), whatever its exponent. Any other literal must be one of a finite double other than zero: its exponent
    is then no longer than the literal allows, and far below the interpreter's digit limit.
    """
    mantissa, _, exponent = literal.lstrip("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "", 0
    point = len(digits) - len(fraction)
    if exponent:
        size = int(exponent.lstrip("+-").lstrip("0") or "0")
        point += -size if exponent[0] == "-" else size
    return digits.rstrip("0"), point


def number_form(value: float) -> str:
    """A finite double as ECMAScript's Number::toString writes it (RFC 8785 section 3.2.2.3 and appendix B)."""
    shortest = float.__repr__(value)
    digits, point = decimal_parts(shortest)
    if not digits:
        return "0"  # minus zero as well (RFC 8785 appendix B)
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def _is_texts(value: object) -> bool:
    if type(value) is dict:
        return _TEXT.issuperset(map(type, value.values())) and _sorts_by_code_point(value)
    return isinstance(value, list | tuple) and _TEXT.issuperset(map(type, value))


def _is_plain(value: object) -> bool:
    """Whether msgspec writes exactly the bytes of RFC 8785 for this value, lone surrogates aside (those it refuses).

    Its escapes are the RFC's; its key order is by code point, which is the order by UTF-16 unit as long as no key leaves
    the basic plane; its doubles are the RFC's where both are positional and have a fraction (1.0, 1e16, -0.0 and NaN are not).
    Level by level, because a call for each item costs more than all the rest of it.
    """
    level: list[Any] = [(value,)]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            items: Collection[object] = container
            if type(container) is dict:
                if not _sorts_by_code_point(container):
                    return False
                items = container.values()
            if _LEAVES.issuperset(map(type, items)):
                continue
            for item in items:
                kind = type(item)
                if kind in _LEAVES:
                    continue
                if kind in _CONTAINERS:
                    below.append(item)
                # Exact types only: msgspec also writes datetimes, bytes, sets and records, which are not JSON values.
                elif not (_is_plain_int(item) if kind is int else _is_plain_float(item) if kind is float else False):
                    return False
        if not below:
            return True
        # A container that stands in itself twice would double a level with each step down.
        level = below if len(below) < _WIDE else list({id(item): item for item in below}.values())
    return False


def _is_plain_int(item: Any) -> bool:
    return bool(-MAX_PLAIN_INT <= item <= MAX_PLAIN_INT)


def _is_plain_float(item: Any) -> bool:
    return bool(1e-4 <= abs(item) < MAX_PLAIN_INT and not item.is_integer())


def _sorts_by_code_point(members: dict[str, object]) -> bool:
    try:
        names = "".join(members)
    except TypeError:  # a key that is no string; the writer names it
        return False
    return names.isascii() or max(names) <= _LAST_BMP


class _Writer:
    """Writes any value, and knows where in the document it is when it has to refuse."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._trail: list[str | int] = []

    def write(self, value: object) -> None:
        if value is None:
            self.parts.append("null")
        elif isinstance(value, bool):  # before int, whose subclass it is
            self.parts.append("true" if value else "false")
        elif isinstance(value, str):
            self._text(value)
        elif isinstance(value, int):
            self._integer(value)
        elif isinstance(value, float):
            if not isfinite(value):
                raise self._refusal(value, NUMBER_NOT_FINITE)
            self.parts.append(number_form(value))
        elif isinstance(value, Mapping):
            self._object(value)
        elif isinstance(value, list | tuple):
            self._array(value)
        else:
            raise self._refusal(value, TYPE_NOT_JSON)

    def _refusal(self, value: object, reason: str) -> CanonicalError:
        return CanonicalError(json_pointer(self._trail), value, reason)

    def _text(self, text: str) -> None:
        if has_lone_surrogate(text):
            raise self._refusal(text, LONE_SURROGATE)
        self.parts.append(encode_basestring(text))

    def _integer(self, value: int) -> None:
        if -MAX_PLAIN_INT <= value <= MAX_PLAIN_INT:
            self.parts.append(int.__repr__(value))
            return
        try:
            nearest = float(value)
        except OverflowError:
            raise self._refusal(value, NUMBER_NOT_EXACT) from None
        if decimal_parts(int.__repr__(value)) != decimal_parts(repr(nearest)):
            raise self._refusal(value, NUMBER_NOT_EXACT)
        self.parts.append(number_form(nearest))

    def _descend(self, container: object) -> None:
        if len(self._trail) >= MAX_DEPTH:
            raise self._refusal(container, TOO_DEEP)

    def _array(self, items: Sequence[object]) -> None:
        self._descend(items)
        separator = "["
        for index, item in enumerate(items):
            self.parts.append(separator)
            separator = ","
            self._trail.append(index)
            self.write(item)
            self._trail.pop()
        self.parts.append("]" if items else "[]")

    def _object(self, members: Mapping[object, object]) -> None:
        self._descend(members)
        names: list[str] = []
        for name in members:
            if not isinstance(name, str):
                raise self._refusal(name, KEY_NOT_STRING)
            if has_lone_surrogate(name):
                raise self._refusal(name, LONE_SURROGATE)
            names.append(name)
        # Big-endian units compare as bytes do (RFC 8785 section 3.2.3); code points would put U+E000 before U+10000.
        names.sort(key=lambda name: name.encode("utf-16-be"))
        separator = "{"
        for name in names:
            self.parts.append(f"{separator}{encode_basestring(name)}:")
            separator = ","
            self._trail.append(name)
            self.write(members[name])
            self._trail.pop()
        self.parts.append("}" if names else "{}")


def has_lone_surrogate(text: str) -> bool:
    """Whether a text holds a code point that UTF-8 cannot carry (RFC 8785 section 3.2.2.2)."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
