"""The bodies of a run, made before it: a file of what the world sends, in stream order, so that the driver only reads and sends."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from laws.payload_hash import payload_hash_of_value
from testkit.run.answers import Sent, identity_text
from testkit.run.sender import IN_ARRAYS, sent_of, traced
from testkit.world import Credential, EdgeSend, Identity, RunIds, TopicInject, World, WorldConfig

# Steps of one frame of the file: a frame is decoded at once, in about a millisecond.
_FRAME = 500
_LENGTH = struct.Struct("<I")


class Body(msgspec.Struct, array_like=True, tag=0, gc=False):
    """One body. `value` is as an array takes it where it may go into one."""

    value: bytes
    sent: Sent
    in_array: bool
    traceparent: str
    credential: Credential
    anomaly: str | None
    """Identity and other payload hash, of a changed payload."""

    @property
    def is_valid(self) -> bool:
        """Whether the edge must admit it: what a rate counts."""
        return self.sent.kind == "valid"


class Injection(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A record to be put straight onto its topic, behind its original."""

    step: TopicInject


class Mix(NamedTuple):
    """What a file holds."""

    steps: int
    bytes: int
    valid: int
    triggers: int
    kinds: dict[str, int]
    event_types: dict[str, int]

    @property
    def triggers_per_100(self) -> float:
        """Triggers among 100 valid events."""
        return 100 * self.triggers / max(1, self.valid)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Body | Injection])


def write_bodies(path: Path, config: WorldConfig, run: RunIds, progress: Callable[[int], None] = lambda _: None) -> Mix:
    """Play a world into a file; `progress` is told now and then how many valid events are there."""
    kinds: Counter[str] = Counter()
    event_types: Counter[str] = Counter()
    steps = triggers = valid = size = 0
    frame: list[Body | Injection] = []
    with path.open("wb") as out:
        for step in World(config, run):
            steps += 1
            if isinstance(step, TopicInject):
                kinds[f"topic {step.kind}"] += 1
                frame.append(Injection(step))
            else:
                body = _body(step)
                kinds[step.kind] += 1
                size += len(body.value)
                if body.is_valid:
                    valid += 1
                    triggers += step.is_trigger
                    event_types[step.event_type] += 1
                frame.append(body)
            if len(frame) == _FRAME:
                _write(out.write, frame)
                progress(valid)
        _write(out.write, frame)
    return Mix(steps, size, valid, triggers, dict(kinds), dict(event_types))


def _write(write: Callable[[bytes], int], frame: list[Body | Injection]) -> None:
    data = _ENCODER.encode(frame)
    write(_LENGTH.pack(len(data)) + data)
    frame.clear()


def _body(step: EdgeSend) -> Body:
    in_array = step.kind in IN_ARRAYS
    anomaly = None
    if step.changed_payload is not None and step.identity is not None:
        anomaly = _anomaly(step.identity, step.event_type, step.changed_payload)
    return Body(traced(step) if in_array else step.envelope, sent_of(step), in_array, step.traceparent, step.credential, anomaly)


def _anomaly(identity: Identity, event_type: str, payload: dict[str, object]) -> str:
    digest = payload_hash_of_value(event_type, payload, None).hex()  # type: ignore[arg-type]  # a payload of the world is JSON
    return f"{identity_text(identity.platform_run_id, identity.event_class, identity.event_id)}/{digest}"


def read_bodies(path: Path) -> Iterator[Body | Injection]:
    """The steps of a file, a frame in memory at a time."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield from _DECODER.decode(file.read(_LENGTH.unpack(head)[0]))
