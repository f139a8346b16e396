"""The laws hold for cases, assertions and the label handshake."""

from testkit.law_suite import LawSuite
from testkit.workloads.case_management import CaseManagementWorkload


class TestLaws(LawSuite):
    workload = CaseManagementWorkload()
