"""What the auditor says of a service that is quiet: its laws from the tables and the topics, and a refold of every lane."""

from __future__ import annotations

from audit.auditor import Target, audit
from audit.findings import Report
from audit.replay import replay
from spine.service import Service
from testkit.harness import Site
from testkit.workloads import Workload


async def audited(site: Site, workload: Workload, service: Service) -> list[str]:
    """The findings about one service of a site; none is what every run must end with."""
    target = Target(
        dsn=site.operator_dsn,
        schema=service.name,
        bus={"bootstrap_servers": site.endpoints.kafka_bootstrap},
        prefix=site.prefix,
        types=workload.types,
    )
    checked = await audit(target)
    refolded = await replay(target, service, site.settings(service.name))
    return [*_lines(checked), *_lines(refolded.report)]


def _lines(report: Report) -> list[str]:
    lines = [str(finding) for finding in report.findings]
    return [*lines, f"and {report.found - len(lines)} more"] if report.found > len(lines) else lines
