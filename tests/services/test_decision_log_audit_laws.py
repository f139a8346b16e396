"""The laws hold for audit chains."""

from testkit.law_suite import LawSuite
from testkit.workloads.decision_log_audit import DecisionLogAuditWorkload


class TestLaws(LawSuite):
    workload = DecisionLogAuditWorkload()
