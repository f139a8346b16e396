"""The laws hold for triggers from two topics and from signals."""

from testkit.law_suite import LawSuite
from testkit.workloads.case_trigger import CaseTriggerWorkload


class TestLaws(LawSuite):
    workload = CaseTriggerWorkload()
