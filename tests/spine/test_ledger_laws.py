"""The laws on the spine's own test service, which has every door."""

from testkit.law_suite import LawSuite
from testkit.workloads.ledger import LedgerWorkload


class TestLaws(LawSuite):
    workload = LedgerWorkload()
