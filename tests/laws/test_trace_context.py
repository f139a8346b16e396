"""Trace context against the cases of the W3C validation suite (w3c/trace-context, test/test.py) and the recommendation's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws.trace_context import (
    TraceParent,
    TraceState,
    child,
    continue_or_start,
    derive_span_id,
    derive_trace_id,
    parse_traceparent,
    parse_tracestate,
    start,
)
from laws.trace_context import _not_zero as not_zero

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 0xFF),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{SPAN}-fe-", 0),  # of a later version only the sampled flag is known
        (f"01-{TRACE}-{SPAN}-03", 1),
        (f" {VALID}", 1),
        (f"\t{VALID}", 1),
        (f"{VALID} ", 1),
        (f"{VALID}\t", 1),
        (f"\t {VALID} \t", 1),
    ],
)
def test_valid_traceparent_is_continued(header: str, flags: int) -> None:
    assert parse_traceparent(header) == TraceParent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"{VALID},{VALID}",  # two headers, joined
        f"{VALID}.",
        f"{VALID}-",
        f"{VALID}-what-the-future-will-be-like",
        f"{VALID}\n",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"0.-{TRACE}-{SPAN}-01",
        f"CC-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE[:-1]}A-{SPAN}-01",
        f"00-{TRACE}3-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN[:-1]}.-01",
        f"00-{TRACE}-{SPAN[:-1]}B-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-0.",
        f"00-{TRACE}-{SPAN}-0A",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
        f"cc-{TRACE}-{SPAN}-1",
    ],
)
def test_invalid_traceparent_restarts_the_trace(header: str | None) -> None:
    assert parse_traceparent(header) is None
    context = continue_or_start(header, "foo=1", lambda: "ab" * 16, sampled=True)
    assert context.traceparent == TraceParent("ab" * 16, derive_span_id("ab" * 16, "root"), 1)
    assert context.tracestate == TraceState()  # a tracestate counts only next to a valid traceparent


@pytest.mark.parametrize(
    ("flags", "written", "sampled"), [(0, "00", False), (1, "01", True), (2, "02", False), (0xFF, "03", True), (8, "00", False)]
)
def test_header_is_version_00_with_known_flags_only(flags: int, written: str, sampled: bool) -> None:
    parent = TraceParent(TRACE, SPAN, flags)
    assert parent.header() == f"00-{TRACE}-{SPAN}-{written}"
    assert parent.sampled is sampled


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_what_is_written_is_read_again(header: str) -> None:
    parent = parse_traceparent(header)
    if parent is not None:
        again = parse_traceparent(parent.header())
        assert again is not None
        assert again.header() == parent.header()


@pytest.mark.parametrize(
    ("trace_id", "span_id", "flags"),
    [
        ("0" * 32, SPAN, 0),
        (TRACE.upper() + "A", SPAN, 0),
        (TRACE, "0" * 16, 0),
        (TRACE, SPAN[:-1] + "A", 0),
        (TRACE, SPAN, 256),
        (TRACE, SPAN, -1),
    ],
)
def test_an_invalid_place_cannot_be_made(trace_id: str, span_id: str, flags: int) -> None:
    with pytest.raises(ValueError, match="not a"):
        TraceParent(trace_id, span_id, flags)


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ("foo=1", "foo=1"),
        ("", ""),
        ([], ""),
        (["foo=1", ""], "foo=1"),
        (["", "foo=1"], "foo=1"),
        ("foo=1,", "foo=1"),
        (" , ,\t,foo=1, ,", "foo=1"),
        ("foo=1,bar=2", "foo=1,bar=2"),
        (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
        ("foo=1\t \t,\t \tbar=2,\t \tbaz=3", "foo=1,bar=2,baz=3"),
        ("\t foo=1 \t", "foo=1"),
        ("foo= 1", "foo= 1"),  # a blank may lead a value, it can't end one
        ("0vendor0123456789@a-_*/=1", "0vendor0123456789@a-_*/=1"),
        ("abcdefghijklmnopqrstuvwxyz0123456789_-*/= !\"#$%&'()*+-./09:;<>?@AZ[\\]^_`az{|}~",) * 2,
        ("foo=1," + "z" * 256 + "=1", "foo=1," + "z" * 256 + "=1"),
        ("t" * 241 + "@" + "v" * 14 + "=1", "t" * 241 + "@" + "v" * 14 + "=1"),
        ("foo=" + "v" * 256, "foo=" + "v" * 256),
        (",".join(f"k{n}={n}" for n in range(32)), ",".join(f"k{n}={n}" for n in range(32))),
        (",,".join(f"k{n}={n}" for n in range(32)), ",".join(f"k{n}={n}" for n in range(32))),
    ],
)
def test_valid_tracestate_is_kept(headers: str | list[str], written: str) -> None:
    assert parse_tracestate(headers).header() == written


@pytest.mark.parametrize(
    "headers",
    [
        "foo",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "0foo=1",  # a digit may lead a tenant's key only
        "foo@=1,bar=2",
        "@foo=1,bar=2",
        "foo@@bar=1,bar=2",
        "foo@bar@baz=1,bar=2",
        "foo@0bar=1",
        "foo=1," + "z" * 257 + "=1",
        "t" * 242 + "@v=1",
        "t@" + "v" * 15 + "=1",
        "foo=bar=baz",
        "foo=,bar=3",
        "foo=\u00e9",
        "foo=a\tb",
        "foo=" + "v" * 257,
        "foo=1,foo=1",
        "foo=1,foo=2",
        ["foo=1", "foo=1"],
        "foo=1\u00a0",
        ",".join(f"k{n}={n}" for n in range(33)),
    ],
)
def test_invalid_tracestate_is_discarded_and_traceparent_stands(headers: str | list[str]) -> None:
    assert parse_tracestate(headers) == TraceState()
    context = continue_or_start(VALID, headers, pytest.fail, sampled=False)
    assert context.traceparent == TraceParent(TRACE, SPAN, 1)
    assert context.tracestate.header() == ""


def test_512_characters_are_propagated_whole() -> None:
    header = ",".join(f"k{n}=" + "v" * size for n, size in enumerate([61] * 7 + [54]))
    assert len(header) == 512
    assert parse_tracestate(header).header() == header


def test_one_character_more_removes_a_whole_member_from_the_end() -> None:
    members = [f"k{n}=" + "v" * 61 for n in range(7)] + ["k7=" + "v" * 55]
    assert len(",".join(members)) == 513
    assert parse_tracestate(",".join(members)).header() == ",".join(members[:-1])


def test_long_members_are_removed_first_and_no_more_than_needed() -> None:
    longest = "big=" + "v" * 125  # 129 characters
    limit = "mid=" + "v" * 124  # 128 characters: not long
    small = [f"k{n}=" + "v" * 60 for n in range(5)]
    header = ",".join([longest, limit, *small, longest.replace("big", "end")])
    assert parse_tracestate(header).header() == ",".join([limit, *small])
    barely = ",".join([longest, limit, longest.replace("big", "two"), longest.replace("big", "end")])
    assert len(barely) > 512
    assert parse_tracestate(barely).header() == ",".join([longest, limit, longest.replace("big", "two")])


@given(st.lists(st.integers(1, 256), max_size=32))
def test_written_tracestate_is_within_the_limit_and_keeps_the_order(sizes: list[int]) -> None:
    members = tuple((f"k{n}", "v" * size) for n, size in enumerate(sizes))
    header = TraceState(members).header()
    assert len(header) <= 512
    kept = parse_tracestate(header).members
    assert [member for member in members if member in kept] == list(kept)


def test_context_that_arrived_is_continued() -> None:
    context = continue_or_start(VALID, ["foo=1", "bar=2"], pytest.fail, sampled=False)
    assert context.traceparent.header() == VALID
    assert context.tracestate.header() == "foo=1,bar=2"
    assert continue_or_start(VALID, None, pytest.fail, sampled=False).tracestate == TraceState()


def test_child_stays_in_the_trace_and_keeps_the_flags() -> None:
    parent = TraceParent(TRACE, SPAN, 3)
    assert child(parent, "ab" * 8).header() == f"00-{TRACE}-{'ab' * 8}-03"


@pytest.mark.parametrize(("sampled", "flags"), [(True, "01"), (False, "00")])
def test_start_says_nothing_of_randomness(sampled: bool, flags: str) -> None:
    assert start(TRACE, SPAN, sampled).header() == f"00-{TRACE}-{SPAN}-{flags}"


def test_derived_ids_are_known_answers() -> None:
    """Fixed for ever: a replay finds its spans by them."""
    assert derive_trace_id("platform_20260101T000000Z", "event") == "1a0687bd987a414e1aca10dcbed204d0"
    assert derive_span_id(TRACE, "decision_fabric", "judge") == "0a8bbebfa30edacf"


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=3),
    st.lists(st.text("a,|", max_size=3), max_size=3),
)
def test_derived_ids_are_valid_and_do_not_alias(parts: list[str], others: list[str]) -> None:
    trace_id, span_id = derive_trace_id(*parts), derive_span_id(TRACE, *parts)
    assert parse_traceparent(f"00-{trace_id}-{span_id}-00") is not None
    assert (derive_trace_id(*others) == trace_id) == (others == parts)
    assert (derive_span_id(TRACE, *others) == span_id) == (others == parts)
    assert derive_span_id("ab" * 16, *parts) != span_id


def test_a_derived_id_is_never_all_zero() -> None:
    assert not_zero(bytes(8)) == "0" * 15 + "1"
    assert not_zero(bytes(7) + b"\x02") == "0" * 15 + "2"
