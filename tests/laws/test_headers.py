"""What a record must carry (authority.md 5.1.1 item 12 and 7.5)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.headers import Correlation, Provenance, missing_headers, read_correlation, read_provenance

REQUIRED = [
    "traceparent",
    "x-fp-platform-run-id",
    "x-fp-scenario-run-id",
    "x-fp-phase-id",
    "x-fp-event-id",
    "x-fp-runtime-lane",
    "x-fp-policy-rev",
    "x-fp-bundle-id",
    "x-fp-config-digest",
    "x-fp-release-id",
]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CORRELATION = Correlation(f"00-{TRACE}-b7ad6b7169203331-01", "a=1", "platform_20260102T030405Z", "c" * 32, "P6", "e1", "df")
PROVENANCE = Provenance("df.v1", "b" * 64, "d" * 64, "r1")
COMPLETE = dict([*CORRELATION.headers(), *PROVENANCE.headers()])


def test_what_is_written_is_complete_and_reads_back() -> None:
    assert missing_headers(COMPLETE) == ()
    assert read_correlation(COMPLETE.items()) == (CORRELATION, ())
    assert read_provenance(COMPLETE) == PROVENANCE
    assert (CORRELATION.trace_id, CORRELATION.sampled) == (TRACE, True)
    assert not CORRELATION._replace(traceparent=CORRELATION.traceparent[:-2] + "02").sampled


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, b""], ids=["absent", "empty"])
def test_each_required_header_is_missed_by_name(name: str, value: bytes | None) -> None:
    headers = {key: found for key, found in COMPLETE.items() if key != name}
    if value is not None:
        headers[name] = value
    assert missing_headers(headers) == (name,)
    assert read_correlation(headers.items()) == (None, (name,))


def test_all_that_is_missing_is_named_at_once() -> None:
    assert missing_headers({}) == tuple(REQUIRED)


@pytest.mark.parametrize(
    "value",
    [
        b"garbage",
        b"\xff\xfe",
        f"00-{'0' * 32}-b7ad6b7169203331-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-b7ad6b7169203331-01".encode(),
        f"ff-{TRACE}-b7ad6b7169203331-01".encode(),
        f"00-{TRACE}-b7ad6b7169203331-01-more".encode(),
    ],
)
def test_an_invalid_traceparent_counts_as_missing(value: bytes) -> None:
    assert missing_headers({**COMPLETE, "traceparent": value}) == ("traceparent",)


@pytest.mark.parametrize("value", [b"nobody", b"DF", b"\xff"])
def test_an_unknown_lane_counts_as_missing(value: bytes) -> None:
    assert missing_headers({**COMPLETE, "x-fp-runtime-lane": value}) == ("x-fp-runtime-lane",)


def test_a_record_without_trace_state_has_no_such_header() -> None:
    assert "tracestate" not in dict(CORRELATION._replace(tracestate="").headers())


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-fp-platform-run-id", b"\xff"), ("traceparent", b" 00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"), ("traceparent", b"\xff")],
)
def test_a_header_that_could_not_be_read_again_is_named_as_missing(name: str, value: bytes) -> None:
    lawful = dict.fromkeys(REQUIRED, b"x") | {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00".encode(), "x-fp-runtime-lane": b"df"}
    assert missing_headers(lawful | {name: value}) == (name,)


_PLACE = f"{TRACE}-b7ad6b7169203331-01"
_values = st.sampled_from(
    [
        *(None, b"", b"x", b"\xff", b"df", b"ig", b"nobody"),
        *(f"{version}-{_PLACE}".encode() for version in ("00", "01", "ff")),
        *(f"00-{_PLACE}\n".encode(), f" 00-{_PLACE}".encode(), f"01-{_PLACE}-more".encode(), f"00-{_PLACE.upper()}".encode()),
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
    ]
)


@given(st.dictionaries(st.sampled_from([*REQUIRED, "tracestate", "other"]), _values, max_size=4))
@settings(max_examples=1500, deadline=None)
def test_the_short_way_takes_what_the_rule_takes_and_says_the_same_of_it(changes: dict[str, bytes | None]) -> None:
    headers = {**COMPLETE, **changes}
    found, missing = read_correlation(headers.items())  # type: ignore[arg-type]  # a header without a value comes as None
    assert missing == missing_headers(headers)  # type: ignore[arg-type]  # as above
    if missing:
        assert found is None
        return
    wanted = [headers[name] for name in REQUIRED[:6]]
    assert found is not None
    written = dict(found.headers())
    assert [written[name] for name in REQUIRED[:6]] == wanted
    assert found.tracestate.encode("latin-1") == (headers.get("tracestate") or b"")
