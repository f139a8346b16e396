"""A history that uses every door and every verdict of the test service, and how to audit it."""

from __future__ import annotations

from audit.target import Target
from laws.topics import AUDIT
from ledger.service import ADJUST, ENTRY, KEY, POSTED_EVENT
from payee import payee_at
from rig import Rig, adjust, entry, key_given
from spine.deadline import Deadline
from spine.migrate import close_run, open_run

LATER_RUN = "platform_20270101T000000Z"
ACCOUNTS = [f"a{number}" for number in range(6)]


def target(rig: Rig) -> Target:
    """The test service, as an auditor is told of it."""
    return Target(
        dsn=rig.site.operator_dsn,
        schema="ledger",
        bus={"bootstrap_servers": rig.engines.endpoints.kafka_bootstrap},
        prefix=rig.site.prefix,
        types=(ENTRY, KEY, POSTED_EVENT, ADJUST),
    )


async def live_through(rig: Rig) -> int:
    """Records with every verdict, waits that end in each way, calls, commands twice, a poisoned key, a refusing store, releases, runs that
    are not open yet and not open any more; the number of records."""
    await rig.site.topics([AUDIT])
    async with payee_at(rig), rig.worker() as (_, door):
        await rig.send(*(entry(f"e{n}-{account}", account=account, amount=n) for n in range(8) for account in ACCOUNTS))
        await rig.send(*(entry(f"c{n}-{account}", account=account, note="count") for n in range(3) for account in ACCOUNTS))
        await rig.send(*(entry(f"e1-{account}", account=account, amount=1) for account in ACCOUNTS))
        await rig.send(entry("e2-a0", account="a0", amount=99), entry("p1", account="a1", note="pay"))
        await rig.send(
            entry("x1", account="bad", note="poison"), entry("x2", account="bad", amount=3), entry("x3", account="bad", amount=4)
        )
        await rig.send(entry("u1", account="a2", run=LATER_RUN))
        # The second one's row is there already: the store refuses it, and it is found alone by halving.
        await rig.send(entry("f1", account="fixed", note="bad"), entry("f2", account="fixed", note="bad"), entry("f3", account="free"))
        await rig.send(entry("w1", account="kept", note="wait"), entry("w2", account="late", note="wait"))
        await rig.quiet(len(ACCOUNTS) * 12 + 11)
        await rig.send(key_given("k1", "kept"))
        for number in (1, 2, 2, 3):
            source, spec = adjust(door, f"adj{number}", "a3", 100 * number)
            await door.submit(source, spec, Deadline(20))
        await rig.until("SELECT count(*)::int FROM pending", 0)
        await open_run(rig.site.operator_dsn, "ledger", LATER_RUN)
        for row in await rig.rows("SELECT DISTINCT lane, key FROM parked ORDER BY key"):
            await door.release("account", row["lane"], row["key"], Deadline(20))
        await close_run(rig.site.operator_dsn, "ledger", LATER_RUN)
        await rig.send(entry("u2", account="a2", run=LATER_RUN))
        await rig.quiet(len(ACCOUNTS) * 12 + 13)
    return len(ACCOUNTS) * 12 + 13
