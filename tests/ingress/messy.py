"""Items as producers send them: lawful ones, written in some lawful way, with some of what goes wrong on the way. By seed."""

import json
from random import Random
from typing import Any

from tests.ingress.rig import traffic

_INSTANT = "2026-01-05T10:00:00.000000Z"
PAYLOADS: dict[str, dict[str, Any]] = {
    "s3_event_stream_with_fraud_6B": traffic()["payload"],
    "arrival_events_5B": {
        "merchant_id": "m1",
        "arrival_seq": 7,
        "ts_utc": _INSTANT,
        "zone_representation": "tz",
        "bucket_index": 1,
        "tzid_primary": "Europe/Berlin",
        "ts_local_primary": "x",
        "is_virtual": False,
    },
    "s1_arrival_entities_6B": {
        "merchant_id": "m1",
        "arrival_seq": 7,
        "ts_utc": _INSTANT,
        "party_id": "p",
        "account_id": "a",
        "session_id": "s",
        "device_id": "d",
    },
    "s3_flow_anchor_with_fraud_6B": {
        "flow_id": "f",
        "merchant_id": "m1",
        "arrival_seq": 7,
        "account_id": "a",
        "party_id": "p",
        "amount_minor": 1,
        "currency": "EUR",
        "ts_utc": _INSTANT,
    },
}
# Numbers that a lenient reader rounds, folds or takes for another, and values of other types.
_LITERALS = (
    "1", "1.0", "1e2", "1E2", "-0", "0", "01", "1.5", "9007199254740992", "9007199254740993", "1.00000000000000000001", "1e400",
    "1e-400", "NaN", "-Infinity", "null", "true", '"1"', '"x"', "[]", "{}", "[[[[1]]]]", '{"a":1,"a":2}', '"\\u0041"', '"\\ud800"',
    '"\\ud83d\\ude00"', '"😀"', '"ä"', '"a\\"b"', '"2026-02-30T10:00:00.000000Z"', '""', '"\x7f"', '"a\nb"',
)  # fmt: skip


_OPTIONAL = {"phase_id": '"P4"', "runtime_lane": '"wsp"', "tracestate": '"a=1"', "parent_event_id": '"p"', "schema_version": '"v1"'}
_FOREIGN = ("x", "fraud_flag", "payload", "event_id", "a\\u0062")


def messy_item(rng: Random) -> bytes:
    """One item. About a third are lawful."""
    event_type = rng.choice(sorted(PAYLOADS))
    payload = {name: json.dumps(value) for name, value in PAYLOADS[event_type].items()}
    event = traffic(f"{rng.getrandbits(256):064x}") | {"event_type": event_type}
    head = {name: json.dumps(value) for name, value in event.items() if name != "payload"}
    head |= {name: _OPTIONAL[name] for name in rng.sample(sorted(_OPTIONAL), rng.choice((0, 0, 1, 2)))}
    head["payload"] = "@"
    for body in (head, payload):
        if rng.random() < 0.25:
            body[rng.choice(sorted(body))] = rng.choice(_LITERALS)
        if rng.random() < 0.1:
            body[rng.choice(_FOREIGN)] = rng.choice(_LITERALS)
        if rng.random() < 0.1:
            del body[rng.choice(sorted(body))]
    space = rng.choice(("", "", " ", "\n\t", "\r\n"))
    text = _written(rng, head, space).replace("@", _written(rng, payload, space), 2)
    return _hurt(rng, text.encode("utf-8", "surrogatepass"))


def _written(rng: Random, body: dict[str, str], space: str) -> str:
    members = [f'"{name}"{space}:{space}{value}' for name, value in body.items()]
    if rng.random() < 0.5:
        rng.shuffle(members)
    if members and rng.random() < 0.2:  # a key twice, with the same or another value
        name = rng.choice(sorted(body))
        members.insert(rng.randint(0, len(members)), f'"{name}":{rng.choice((body[name], *_LITERALS))}')
    return "{" + f"{space},{space}".join(members) + "}"


def _hurt(rng: Random, raw: bytes) -> bytes:
    chance = rng.random()
    if chance < 0.05:
        at = rng.randrange(len(raw))
        return raw[:at] + rng.randbytes(rng.randint(0, 3)) + raw[at + rng.randint(0, 3) :]
    if chance < 0.1:
        return rng.choice((b"\xef\xbb\xbf" + raw, raw + b"\x00", raw + raw, raw[:-1], b" " + raw + b"\n", b"[" + raw + b"]"))
    return raw
