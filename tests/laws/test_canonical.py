"""Canonical JSON against RFC 8785: its own vectors, and an independent implementation over generated documents."""

import datetime
import enum
import math
import struct
from types import MappingProxyType

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from laws.canonical import MAX_DEPTH, MAX_PLAIN_INT, CanonicalError, JsonValue, canonical_json, canonical_plain, decimal_parts, json_pointer

# RFC 8785 appendix B: the bits of a double, and its form. 9.999999999999997e+22 and its like are given as the double they are.
APPENDIX_B = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


def double(bits: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(("bits", "form"), APPENDIX_B)
def test_number_is_written_as_in_appendix_b(bits: str, form: str) -> None:
    assert canonical_json(double(bits)) == form.encode()
    assert canonical_json([{"n": double(bits)}]) == b'[{"n":' + form.encode() + b"}]"


def test_ties_between_two_shortest_forms_go_to_the_even_digit() -> None:
    assert canonical_json(549755813888.03125) == b"549755813888.0312"


def test_sample_of_section_3_2_2() -> None:
    value: JsonValue = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "€$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_json(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_members_are_sorted_by_utf_16_units_as_in_section_3_2_3() -> None:
    value: JsonValue = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"]
    written = canonical_json(value).decode()
    assert [name for _, name in sorted((written.index(name), name) for name in order)] == order


@pytest.mark.parametrize("code", [*range(0x00, 0xA1), 0x2028, 0x2029, 0xD7FF, 0xE000, 0xFEFF, 0xFFFF, 0x10000, 0x10FFFF])
def test_escapes_are_the_fewest(code: int) -> None:
    character = chr(code)
    short = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
    escaped = short.get(code, f"\\u{code:04x}" if code < 0x20 else character)
    expected = f'{{"{escaped}":"{escaped}"}}'.encode()
    assert canonical_json({character: character}) == expected
    # 1.0 keeps the document off the quick way: both ways write the same.
    assert canonical_json([{character: character}, 1.0]) == b"[" + expected + b",1]"


numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(min_value=1e-5, max_value=1e-3),
    st.floats(min_value=2.0**52, max_value=1e22),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e16, 1e21, 1e-6, 1e-7, 1.7976931348623157e308]),
)
texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.characters(min_codepoint=0xE000, max_codepoint=0x10010),
        st.characters(max_codepoint=0x2028, exclude_categories=["Cs"]),
    ),
    max_size=6,
)
documents: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)


@given(documents)
@example({"\ue000": 1, "\U00010000": 2})
@example([1.0, -0.0, 1e16])
def test_bytes_equal_those_of_an_independent_implementation(value: JsonValue) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


def test_subclasses_and_other_containers_are_written_as_what_they_are() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Rank(enum.IntEnum):
        FIRST = 1

    class Ratio(float):
        def __repr__(self) -> str:
            return "a ratio"

    assert canonical_json(MappingProxyType({Colour.RED: (Colour.RED, Rank.FIRST, Ratio(0.5))})) == b'{"red":["red",1,0.5]}'
    assert canonical_json((1, "a")) == b'[1,"a"]'


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**53 + 2, 10**20, 10**21, 10**22, 10**23, 1152921504606847000])
def test_an_integer_that_is_its_double_s_shortest_form_is_written(value: int) -> None:
    assert canonical_json(value) == canonical_json(float(value))


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (2**53 + 1, "", "NUMBER_NOT_EXACT"),
        ({"a": [0, -(2**53) - 1]}, "/a/1", "NUMBER_NOT_EXACT"),
        (2**60, "", "NUMBER_NOT_EXACT"),  # a double, whose shortest form says 1152921504606847000
        (10**400, "", "NUMBER_NOT_EXACT"),
        ([10**5000], "/0", "NUMBER_NOT_EXACT"),
        ([math.nan], "/0", "NUMBER_NOT_FINITE"),
        ({"x": math.inf}, "/x", "NUMBER_NOT_FINITE"),
        ([-math.inf], "/0", "NUMBER_NOT_FINITE"),
        ({"a/b": {"c~d": "\ud800"}}, "/a~1b/c~0d", "LONE_SURROGATE"),
        ({"a": {"\udfff": 1}}, "/a", "LONE_SURROGATE"),
        ({"a": {1: 2}}, "/a", "KEY_NOT_STRING"),
        ({None: 2}, "", "KEY_NOT_STRING"),
        ([b"x"], "/0", "TYPE_NOT_JSON"),
        ({"t": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, "/t", "TYPE_NOT_JSON"),
        ([{1, 2}], "/0", "TYPE_NOT_JSON"),
        (object(), "", "TYPE_NOT_JSON"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_canonical_form_is_refused_by_name(value: object, path: str, reason: str) -> None:
    with pytest.raises(CanonicalError) as caught:
        canonical_json(value)  # type: ignore[arg-type]  # what is refused is no JSON
    assert (caught.value.path, caught.value.reason) == (path, reason)
    assert reason in str(caught.value)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_PLAIN_INT, MAX_PLAIN_INT) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_PLAIN)
@example({"\U0001f600": 1, "\ufb33": 2})
@example({'\x7f"\\/': "\b\u2028"})
def test_a_plain_value_is_written_alike_whether_it_is_looked_at_or_not(value: JsonValue) -> None:
    assert canonical_plain(value) == canonical_json(value)


def test_a_text_of_a_type_of_its_own_is_written_as_the_text_that_it_is() -> None:
    class Text(str): ...

    assert canonical_plain([Text("x")]) == b'["x"]'


def test_a_lone_surrogate_is_refused_by_name_where_nothing_else_is_looked_at() -> None:
    with pytest.raises(CanonicalError) as caught:
        canonical_plain({"a": ["\ud800"]})
    assert (caught.value.path, caught.value.reason) == ("/a/0", "LONE_SURROGATE")


def test_the_refused_value_is_data() -> None:
    with pytest.raises(CanonicalError) as caught:
        canonical_json({"a": 2**53 + 1})
    assert caught.value.value == 2**53 + 1


@pytest.mark.parametrize("leaf", [1, 1.0])
def test_depth_is_limited_alike_on_both_ways(leaf: int | float) -> None:
    value: JsonValue = leaf
    for _ in range(MAX_DEPTH):
        value = [value]
    assert canonical_json(value) == b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    with pytest.raises(CanonicalError) as caught:
        canonical_json({"a": value})
    assert caught.value.reason == "TOO_DEEP"
    assert caught.value.path == "/a" + "/0" * (MAX_DEPTH - 1)


def test_a_cycle_is_too_deep() -> None:
    cycle: list[JsonValue] = []
    cycle.append(cycle)
    with pytest.raises(CanonicalError, match="TOO_DEEP"):
        canonical_json(cycle)


def test_a_cycle_of_two_ways_is_too_deep_and_soon() -> None:
    """Two references to itself: without sharing, a level twice as wide with each step down."""
    cycle: list[object] = []
    cycle += [cycle, cycle]
    with pytest.raises(CanonicalError, match="TOO_DEEP"):
        canonical_json(cycle)  # type: ignore[arg-type]  # what no reader makes


def test_json_pointer_escapes_tilde_before_slash() -> None:
    assert json_pointer([]) == ""
    assert json_pointer(["a~1", 0, "b/c"]) == "/a~01/0/b~1c"


@pytest.mark.parametrize(
    ("literal", "parts"),
    [
        ("0", ("", 0)),
        ("-0.00e7", ("", 0)),
        ("19.990", ("1999", 2)),
        ("1E+2", ("1", 3)),
        ("-0.001", ("1", -2)),
        ("100e-00", ("1", 3)),
    ],
)
def test_decimal_parts(literal: str, parts: tuple[str, int]) -> None:
    assert decimal_parts(literal) == parts
