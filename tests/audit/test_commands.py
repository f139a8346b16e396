"""The commands as an operator types them."""

import asyncio

from typer.testing import CliRunner

from cli.main import app
from rig import Rig, entry


async def fp(*arguments: str) -> tuple[int, str]:
    """Exit code and output. In a thread: a command runs an event loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    return done.exit_code, done.output


async def test_a_parked_key_is_listed_shown_and_rehearsed(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(entry("a1", account="a", note="poison"), entry("a2", account="a"))
        await rig.quiet(2)
    (row,) = await rig.rows("SELECT DISTINCT lane, encode(key, 'hex') AS key FROM parked")
    place = ("--service", "ledger", "--dsn", rig.site.operator_dsn)
    key = ("--lane", str(row["lane"]), "--key", row["key"])
    code, listed = await fp("parked", "list", *place)
    assert code == 0
    assert f"account lane {row['lane']} key {row['key']}: 2 inputs" in listed
    assert "POLICY_ERROR: ValueError: this entry is poison" in listed
    code, shown = await fp("parked", "show", *place, *key)
    assert code == 0
    assert "a1" in shown and "BEHIND_PARKED_KEY" in shown and '"note":"poison"' in shown
    code, refused = await fp("parked", "show", *place, "--lane", "0", "--key", "no hex")
    assert code == 2
    assert "'no hex' is not hex" in refused


async def test_what_is_no_service_is_said_in_one_line(rig: Rig) -> None:
    for command in (("parked", "list"), ("audit", "--bootstrap", rig.engines.endpoints.kafka_bootstrap)):
        code, output = await fp(*command, "--service", "nobody", "--dsn", rig.site.operator_dsn)
        assert code == 2
        assert "Traceback" not in output


async def test_an_audit_names_a_doctored_row_and_fails(rig: Rig) -> None:
    async with rig.worker():
        await rig.send(*(entry(f"e{number}", account="a", amount=number) for number in range(1, 9)))
        await rig.quiet(8)
    place = ("--service", "ledger", "--dsn", rig.site.operator_dsn, "--prefix", rig.site.prefix)
    where = (*place, "--bootstrap", rig.engines.endpoints.kafka_bootstrap)
    section = ("--topic", "test.entries.v1", "--from", "0", "--to", "1000")
    await rig.rows("UPDATE entry SET amount = 0 WHERE event_id = 'e3' RETURNING 1")
    code, output = await fp("audit", *where, *section)
    assert code == 1
    assert "ROW_ALTERED" in output and "entry event_id=e3" in output
