"""What the auditor says of a service that is quiet: its laws from the tables and the topics, and a refold of every lane."""

from __future__ import annotations

from dataclasses import dataclass, field

from spine.service import Service
from testkit.harness import Site

try:
    from audit.replay import replay

    from audit.auditor import Target, audit
except ImportError as error:
    _MISSING: ImportError | None = error
else:
    _MISSING = None


@dataclass
class Verdict:
    """Findings, worst first as the auditor names them; empty is what every run must end with."""

    findings: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.findings


async def audited(site: Site, service: Service) -> Verdict:
    """Audit and replay one service of a site."""
    if _MISSING is not None:
        raise RuntimeError(f"libs/audit is not installed: {_MISSING}")
    target = Target(
        dsn=site.operator_dsn, schema=service.name, bus={"bootstrap_servers": site.endpoints.kafka_bootstrap}, prefix=site.prefix
    )
    checked = await audit(target)
    refolded = await replay(target, service, site.settings(service.name))
    verdict = Verdict(figures={**checked.figures, **{f"replay_{name}": value for name, value in refolded.figures.items()}})
    for report in (checked, refolded):
        verdict.findings += [
            f"{found.law} {found.code} lane {found.lane}/{found.lane_seq} {found.place}: {found.detail}" for found in report.findings
        ]
        if not report.ok and not report.findings:
            verdict.findings.append(f"{type(report).__name__} is not ok and names no finding")
    return verdict
