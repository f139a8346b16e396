"""The laws hold for decisions, waits and velocities."""

from testkit.law_suite import LawSuite
from testkit.workloads.decision_fabric import DecisionFabricWorkload


class TestLaws(LawSuite):
    workload = DecisionFabricWorkload()
