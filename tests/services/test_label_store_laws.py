"""The laws hold for labels, which come by command only."""

from testkit.law_suite import LawSuite
from testkit.workloads.label_store import LabelStoreWorkload


class TestLaws(LawSuite):
    workload = LabelStoreWorkload()
