"""The laws hold for intents and for the answers of an unreliable provider."""

from testkit.law_suite import LawSuite
from testkit.workloads.action_layer import ActionLayerWorkload


class TestLaws(LawSuite):
    workload = ActionLayerWorkload()
