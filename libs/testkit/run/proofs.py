"""The run's own proofs: every certificate recomputed, and lanes replayed on a shadow (docs/proof.md)."""

import time
from collections.abc import Callable

from audit.auditor import audit
from audit.offline import declared, offline_settings
from audit.replay import Span, replay
from audit.target import Target
from spine.lanes import lane_specs
from testkit.run.equations import Reconciliation
from testkit.run.options import RunOptions
from testkit.run.platform import SERVICES, Platform


async def prove(platform: Platform, result: Reconciliation, options: RunOptions, say: Callable[[str], None]) -> None:
    """Audit every service wholly, replay one lane of each (which one follows from the seed) or all, and add what was found.

    The processes may still run.
    """
    settings = offline_settings()
    totals = {"certificates": 0, "rows": 0, "replayed": 0}
    begun = time.monotonic()
    for name in SERVICES:
        target = Target(
            dsn=platform.site.operator_dsn,
            schema=name,
            bus={"bootstrap_servers": platform.engines.endpoints.kafka_bootstrap},
            prefix=platform.site.prefix,
        )
        audited = await audit(target)
        result.none(f"audit of {name}", f"findings of the audit of {name}", map(str, audited.findings))
        service = declared(name, settings)
        lanes = lane_specs(service)
        span = None if options.replay_all else Span(lane=lanes[options.seed % len(lanes)].lane)
        replayed = await replay(target, service, settings, span)
        result.none(f"replay of {name}", f"differences of the replay of {name}", map(str, replayed.report.findings))
        totals["certificates"] += audited.figures.get("certificates", 0)
        totals["rows"] += audited.figures.get("rows", 0)
        totals["replayed"] += replayed.report.figures.get("compared", 0)
    result.counts.update(totals)
    say(
        f"audited {totals['certificates']:,} certificates and {totals['rows']:,} rows, replayed {totals['replayed']:,} inputs "
        f"on shadows in {time.monotonic() - begun:.1f} s"
    )
