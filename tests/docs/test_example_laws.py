"""The service of docs/add_a_service.md inherits every law without a line of its own."""

from testkit.law_suite import LawSuite
from testkit.workloads.refund_watch import RefundWatchWorkload


class TestLaws(LawSuite):
    workload = RefundWatchWorkload()
