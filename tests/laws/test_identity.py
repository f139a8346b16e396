"""The dedupe identity and its stored form (domain.md 2.6)."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws.event_classes import EventClass
from laws.identity import Identity, dedupe_key, pack_event_id, unpack_event_id

RUN = "platform_20260102T030405Z"

hexes = st.integers(30, 66).flatmap(lambda size: st.text("0123456789abcdef", min_size=size, max_size=size))
uuids = st.uuids().map(str)
packed_look = st.binary(max_size=33).map(lambda raw: raw.decode("latin-1"))
event_ids = st.text(min_size=1, max_size=256) | hexes | hexes.map(str.upper) | uuids | uuids.map(str.upper) | packed_look


@given(event_ids)
def test_packing_is_reversible(event_id: str) -> None:
    assert unpack_event_id(pack_event_id(event_id)) == event_id


@given(event_ids, event_ids)
def test_packing_is_injective(one: str, other: str) -> None:
    assert (pack_event_id(one) == pack_event_id(other)) == (one == other)


HEX32 = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(
    "event_id",
    [
        HEX32.upper(),
        HEX32[:-1],
        HEX32 + "0",
        HEX32 + "\n",
        HEX32 * 2 + "\n",
        str(UUID(HEX32)).upper(),
        str(UUID(HEX32)) + "\n",
        f"{{{UUID(HEX32)}}}",
        "\x01" + HEX32,
        "\x02" + bytes.fromhex(HEX32).decode("latin-1"),
        "\x00",
        "٣" * 32,
    ],
)
def test_what_only_looks_like_a_digest_stays_text(event_id: str) -> None:
    packed = pack_event_id(event_id)
    assert packed == b"\x00" + event_id.encode()
    assert unpack_event_id(packed) == event_id


def test_one_number_in_three_spellings_is_three_events() -> None:
    spellings = [HEX32, str(UUID(HEX32)), HEX32.upper()]
    assert [len(pack_event_id(s)) for s in spellings] == [17, 17, 33]
    assert len({pack_event_id(s) for s in spellings}) == 3
    assert len(pack_event_id(HEX32 * 2)) == 33


@pytest.mark.parametrize("packed", [b"", b"\x04abc", b"\xff"])
def test_an_unknown_tag_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="tag="):
        unpack_event_id(packed)


def test_the_dedupe_key_is_for_ever_and_takes_all_three_parts() -> None:
    identity = Identity(RUN, EventClass.TRAFFIC_FRAUD, "e1")
    assert dedupe_key(identity) == "c2203514a83d76656a7621a82d235ba53615a15b9658a91cdea431d64d0de320"
    others = [
        identity._replace(platform_run_id="platform_20260102T030406Z"),
        identity._replace(event_class=EventClass.CONTEXT_FLOW_FRAUD),
        identity._replace(event_id="e2"),
    ]
    assert len({dedupe_key(i) for i in (identity, *others)}) == 4


def test_a_separator_inside_a_part_moves_nothing() -> None:
    # An event id may hold any character, also the ones that would join the parts.
    assert dedupe_key(Identity(f"{RUN}:x", EventClass.AUDIT, "y")) != dedupe_key(Identity(RUN, EventClass.AUDIT, "x:y"))


def test_class_numbers_are_for_ever() -> None:
    assert [c.number for c in EventClass] == list(range(1, 17))
    assert [c.value for c in EventClass][:4] == ["traffic_fraud", "context_arrival", "context_arrival_entities", "context_flow_fraud"]
