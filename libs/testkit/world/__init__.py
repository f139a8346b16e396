"""A seeded world: everything that happens to the platform from outside, as a pure stream (domain.md 13).

World(config, run) yields steps; Manifest counts what was injected; World.truth tells the truth about a flow; Outside and the
investigator turn that truth into disputes, chargebacks and labels.
"""

from testkit.world.config import NO_MESS, MessRates, RunIds, WorldConfig, WorldPins, pins_of
from testkit.world.identity import EVENT_CLASS, Identity, event_id_of
from testkit.world.investigator import FraudBook, LabelDraft, TriggerType, TruthOfEvent, decide, label_of
from testkit.world.manifest import InjectedAnomaly, Manifest
from testkit.world.outside import ExternalSignal, Outside, SignalKind
from testkit.world.steps import EXPECTED, Answer, Credential, EdgeKind, EdgeSend, Expected, Step, TopicInject, TopicKind
from testkit.world.stream import Stream, World
from testkit.world.truth import FlowIds, FraudKind, Truth, TruthLabel

__all__ = [
    "EVENT_CLASS",
    "EXPECTED",
    "NO_MESS",
    "Answer",
    "Credential",
    "EdgeKind",
    "EdgeSend",
    "Expected",
    "ExternalSignal",
    "FlowIds",
    "FraudBook",
    "FraudKind",
    "Identity",
    "InjectedAnomaly",
    "LabelDraft",
    "Manifest",
    "MessRates",
    "Outside",
    "RunIds",
    "SignalKind",
    "Step",
    "Stream",
    "TopicInject",
    "TopicKind",
    "TriggerType",
    "Truth",
    "TruthLabel",
    "TruthOfEvent",
    "World",
    "WorldConfig",
    "WorldPins",
    "decide",
    "event_id_of",
    "label_of",
    "pins_of",
]
