"""The payload hash against its definition, and the bytes it is taken over."""

from hashlib import sha256

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from laws.canonical import CanonicalError, JsonValue, canonical_json
from laws.payload_hash import PAYLOAD_HASH_RECIPE, payload_hash, payload_hash_of_value

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
payloads: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def test_known_answers() -> None:
    """Fixed for ever: a change here changes the identity of every event already admitted."""
    assert PAYLOAD_HASH_RECIPE == "fp.payload_hash.v1"
    assert (
        payload_hash("action_intent", b'{"amount_minor":1999,"currency":"EUR"}', "v1").hex()
        == sha256(b'{"event_type":"action_intent","payload":{"amount_minor":1999,"currency":"EUR"},"schema_version":"v1"}').hexdigest()
        == "d0d73edabf905a9bba65e89bfb96328a23cc5aba7da9be6bb3e5c9ba27a09bad"
    )
    assert payload_hash("arrival_events_5B", None, None).hex() == "a7c1554432ac017082dc3a45ab08c80ecee1434189e569561cfd1045676e23aa"


@given(texts, payloads, st.none() | texts)
def test_hash_is_over_the_canonical_object(event_type: str, payload: JsonValue, schema_version: str | None) -> None:
    whole: dict[str, JsonValue] = {"payload": payload, "event_type": event_type}
    if schema_version is not None:
        whole["schema_version"] = schema_version
    expected = sha256(rfc8785.dumps(whole)).digest()
    assert payload_hash(event_type, canonical_json(payload), schema_version) == expected
    assert payload_hash_of_value(event_type, payload, schema_version) == expected


@given(texts, st.none() | texts)
def test_absent_payload_is_left_out(event_type: str, schema_version: str | None) -> None:
    whole = {"event_type": event_type} | ({} if schema_version is None else {"schema_version": schema_version})
    assert payload_hash(event_type, None, schema_version) == sha256(rfc8785.dumps(whole)).digest()


def test_absent_is_neither_null_nor_empty_text() -> None:
    versions = [payload_hash("t", b"{}", version) for version in (None, "", "null", "None")]
    payload_forms = [payload_hash("t", payload, None) for payload in (None, b"null", b'""', b"{}")]
    assert len({*versions, *payload_forms}) == 7  # one of them is in both lists


def test_slice_is_taken_as_it_stands() -> None:
    assert payload_hash("t", b'{"a":1}', None) != payload_hash("t", b'{"a": 1}', None)


def test_empty_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="empty slice"):
        payload_hash("t", b"", None)


def test_text_cannot_reach_across_its_field() -> None:
    assert payload_hash('t","payload":{}', None, None) != payload_hash("t", b"{}", None)
    assert payload_hash("t", b"{}", 'v","x":"y') != payload_hash("t", b'{},"x":"y"', "v")


def test_unwritable_values_are_refused() -> None:
    with pytest.raises(CanonicalError, match="LONE_SURROGATE"):
        payload_hash("\ud800", b"{}", None)
    with pytest.raises(CanonicalError, match="NUMBER_NOT_EXACT at /amount"):
        payload_hash_of_value("t", {"amount": 2**53 + 1}, None)
