"""Strict reading: what is accepted means what was written, what is refused is named."""

import json
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from laws.canonical import MAX_DEPTH, canonical_json, number_form
from laws.strict_json import StrictJsonError, parse_strict


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"19.99", 19.99),
        (b"0.1", 0.1),
        (b"0.10", 0.1),
        (b"1e2", 100),
        (b"1E+2", 100),
        (b"1.0", 1),
        (b"-0", 0),
        (b"-0.0e5", 0),
        (b"5e-324", 5e-324),
        (b"9007199254740991", 2**53 - 1),
        (b"9007199254740992", 2**53),
        (b"9007199254740994", 2**53 + 2),
        (b"1152921504606847000", 1152921504606847000),  # the shortest form of 2**60
        (b"100000000000000000000", 10**20),
        (b"1000000000000000000000", 1e21),
        (b"1e23", 1e23),
        (b"0." + b"0" * 5000 + b"1e5001", 1),
        (b"1e" + b"0" * 5000 + b"2", 100),
        (b"0e" + b"9" * 5000, 0),
        (b" [true , false,null]\r\n\t", [True, False, None]),
        (b'"\\ud83d\\ude00 \\u00e9 \\\\ud800"', "\U0001f600 \u00e9 \\ud800"),
        (b'{"a":{"a":1},"b":{"a":2}}', {"a": {"a": 1}, "b": {"a": 2}}),
    ],
)
def test_accepted(raw: bytes, value: object) -> None:
    parsed = parse_strict(raw)
    assert parsed == value
    assert type(parsed) is type(value)


NOT_EXACT = [
    b"9007199254740993",
    b"-9007199254740993",
    b"1152921504606846976",  # 2**60 is a double, but its shortest form is 24 more
    b"0.1000000000000000055511151231257827",  # the exact value of the double 0.1 to 34 digits is not 0.1
    b"4.9e-324",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"1" * 5000,
    b"1e" + b"9" * 5000,
    b"1e-" + b"9" * 5000,
]


@pytest.mark.parametrize("literal", NOT_EXACT, ids=lambda literal: literal[:24].decode())
def test_a_number_that_would_change_is_refused_with_its_field(literal: bytes) -> None:
    with pytest.raises(StrictJsonError) as caught:
        parse_strict(b'{"payload":{"a~/b":[0,' + literal + b"]}}")
    error = caught.value
    assert (error.reason, error.path) == ("NUMBER_NOT_EXACT", "/payload/a~0~1b/1")
    assert error.excerpt.startswith(literal[:40].decode())
    assert len(error.excerpt) <= 43


@pytest.mark.parametrize(
    ("raw", "reason", "path", "offset"),
    [
        (b'{"a":{"b":[1,{"c":1,"d":2,"c":1}]}}', "DUPLICATE_KEY", "/a/b/1/c", None),
        (b'{"a":1,"\\u0061":1}', "DUPLICATE_KEY", "/a", None),
        (b'{"a":1,"a":9007199254740993}', "DUPLICATE_KEY", "/a", None),  # the first fault in the document
        (b'{"b":9007199254740993,"a":1,"a":2}', "NUMBER_NOT_EXACT", "/b", None),
        (b"[NaN]", "NUMBER_NOT_FINITE", "/0", None),
        (b'{"a":Infinity}', "NUMBER_NOT_FINITE", "/a", None),
        (b"-Infinity", "NUMBER_NOT_FINITE", "", None),
        (b'{"a":["\\ud800"]}', "LONE_SURROGATE", "/a/0", None),
        (b'{"a":"\\ude00\\ud83d"}', "LONE_SURROGATE", "/a", None),
        (b'{"a":{"\\uDFFF":1}}', "LONE_SURROGATE", "/a", None),
        (b"\xef\xbb\xbf{}", "NOT_UTF8", "", 0),
        (b'"\xff"', "NOT_UTF8", "", 1),
        (b'"\xed\xa0\x80"', "NOT_UTF8", "", 1),  # a surrogate in UTF-8 clothing
        (b'"\xc0\xaf"', "NOT_UTF8", "", 1),  # an overlong slash
        ("{}".encode("utf-16"), "NOT_UTF8", "", 0),
        (b"", "MALFORMED_JSON", "", 0),
        (b"1 2", "MALFORMED_JSON", "", 2),
        (b"01", "MALFORMED_JSON", "", 1),
        (b"[1.]", "MALFORMED_JSON", "", 2),
        (b'["\xc3\xa9" 1]', "MALFORMED_JSON", "", 6),  # bytes, not characters
        (b'"\x01"', "MALFORMED_JSON", "", 1),
        (b'{"a":1,"a":2,}', "MALFORMED_JSON", "", 13),
        (b"{'a':1}", "MALFORMED_JSON", "", 1),
        (b"\xc2\xa01", "MALFORMED_JSON", "", 0),
        ("[\u0661]".encode(), "MALFORMED_JSON", "", 1),
    ],
)
def test_refused(raw: bytes, reason: str, path: str, offset: int | None) -> None:
    with pytest.raises(StrictJsonError) as caught:
        parse_strict(raw)
    error = caught.value
    assert (error.reason, error.path, error.offset) == (reason, path, offset)
    assert error.excerpt.isascii()
    assert reason in str(error)
    str(error).encode()


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_limited(opening: bytes, closing: bytes) -> None:
    assert parse_strict(opening * 64 + b"1" + closing * 64)
    with pytest.raises(StrictJsonError, match="TOO_DEEP"):
        parse_strict(opening * 65 + b"1" + closing * 65)
    with pytest.raises(StrictJsonError, match="TOO_DEEP"):
        parse_strict(opening * 2 + b"1" + closing * 2, max_depth=1)
    with pytest.raises(StrictJsonError, match="TOO_DEEP"):
        parse_strict(opening * 100_000)


def test_depth_counts_nesting_alone() -> None:
    siblings = b"[" + b",".join([b'{"a":[]}'] * 200) + b"]"
    assert parse_strict(siblings, max_depth=3)
    text = b'["' + b'[{\\"[' * 200 + b'"]'
    assert parse_strict(text, max_depth=1)


def test_no_more_depth_is_read_than_can_be_written() -> None:
    raw = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert canonical_json(parse_strict(raw, max_depth=MAX_DEPTH)) == raw
    with pytest.raises(ValueError, match="can be written"):
        parse_strict(b"[]", max_depth=MAX_DEPTH + 1)


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"1" * MEGABYTE,
        b"0." + b"1" * MEGABYTE,
        b"1e" + b"9" * MEGABYTE,
        b"0." + b"0" * MEGABYTE + b"1e%d" % MEGABYTE,
        b"{" * 65 + b'"' + b'\\"' * (MEGABYTE // 2),
        b"[" * 65 + b'"' * MEGABYTE,
        b"[" * MEGABYTE,
        b'["' + b"\\ud800" * (MEGABYTE // 6) + b'"]',
    ],
    ids=["digits", "fraction", "exponent", "shifted", "escapes", "quotes", "brackets", "surrogates"],
)
def test_a_hostile_megabyte_costs_little(raw: bytes) -> None:
    began = process_time()
    with suppress(StrictJsonError):
        parse_strict(raw)
    assert process_time() - began < 1.0  # some hundredths of a second; a quadratic way needs far longer


digits = st.text("0123456789", min_size=1, max_size=25)
literals = st.builds(
    lambda sign, whole, fraction, exponent: sign + (whole.lstrip("0") or "0") + fraction + exponent,
    st.sampled_from(["", "-"]),
    digits,
    st.just("") | digits.map(lambda tail: "." + tail),
    st.just("") | st.integers(-400, 400).map(lambda power: f"e{power}") | st.integers(0, 30).map(lambda power: f"E+{power}"),
)
exact_literals = st.floats(allow_nan=False, allow_infinity=False).map(number_form)


@given(literals | exact_literals | exact_literals.map(lambda form: format(Decimal(form), "f")))
@example("9007199254740993")
@example("1152921504606846976")
@example("5e-324")
@example("2.47e-324")
def test_exactness_is_that_of_rational_arithmetic(literal: str) -> None:
    said = Fraction(Decimal(literal))
    nearest = float(literal)
    exact = abs(nearest) < float("inf") and Fraction(Decimal(number_form(nearest))) == said
    if exact:
        parsed = parse_strict(literal.encode())
        assert isinstance(parsed, int | float)
        assert float(parsed) == nearest
        assert canonical_json(parsed) == number_form(nearest).encode()
    else:
        with pytest.raises(StrictJsonError, match="NUMBER_NOT_EXACT"):
            parse_strict(literal.encode())


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_canonical_form_is_a_fixed_point(value: object, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    parsed = parse_strict(raw)
    canonical = canonical_json(parsed)
    again = parse_strict(canonical)
    assert repr(again) == repr(dict_sorted(parsed))  # types included
    assert canonical_json(again) == canonical


def dict_sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: dict_sorted(value[name]) for name in sorted(value, key=lambda name: str(name).encode("utf-16-be"))}
    return [dict_sorted(item) for item in value] if isinstance(value, list) else value
