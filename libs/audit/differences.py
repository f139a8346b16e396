"""What a replayed transaction did against what was recorded of it: verdicts, reads, rows and outputs, to the byte."""

import json
from typing import Any

from audit.chain import Cert
from audit.findings import Book
from audit.rows import EffectTable, effect_tables, shown
from audit.shadow import Shadow
from laws.envelope import decode_envelope
from spine.certificates import VERDICT_OF_LETTER
from spine.db import Db
from spine.leaves import split
from spine.tables import quote

_MADE = "SELECT verdicts, inputs_digest, effects_digest, reads_digest, leaves FROM certificate WHERE lane = $1 AND lane_seq = $2"


async def compare(book: Book, store: Db, shadow: Shadow, cert: Cert) -> None:
    """Note every difference of one transaction."""
    where = (cert.lane, cert.lane_seq)
    made = await store.fetchrow(_MADE, *where)
    if made is None:
        book.find("I2", "NOTHING_APPLIED", cert.inlet, "the replay found no inputs where the recorded transaction had some", *where)
        return
    verdicts: str = made["verdicts"]
    for i, (was, now) in enumerate(zip(cert.verdicts, verdicts, strict=False)):
        if was != now:
            detail = f"recorded {VERDICT_OF_LETTER[was]}, now {VERDICT_OF_LETTER[now]}"
            book.find("I2", "VERDICT_DIFFERS", _place(cert, i), detail, *where)
    if verdicts == cert.verdicts and made["inputs_digest"] != cert.inputs_digest:
        book.find("I2", "INPUTS_DIFFER", cert.inlet, "what was applied is not what the certificate covers", *where)
    if len(verdicts) != len(cert.verdicts):
        book.find("I2", "INPUTS_DIFFER", cert.inlet, f"{len(verdicts)} inputs were applied, {len(cert.verdicts)} were recorded", *where)
    if made["reads_digest"] != cert.reads_digest:
        book.find("I2", "READS_DIFFER", "read_set", "the policy read something else than was recorded", *where)
    if made["effects_digest"] != cert.effects_digest:
        await _name_rows(book, store, shadow, cert, made["leaves"])


def _place(cert: Cert, i: int) -> str:
    if not cert.spans:
        return cert.refs[i] if i < len(cert.refs) else cert.inlet
    for span in cert.spans:
        if i < span.stop - span.start:
            return f"{span.topic}/{span.partition}/{span.start + i}"
        i -= span.stop - span.start
    return cert.inlet


async def _name_rows(book: Book, store: Db, shadow: Shadow, cert: Cert, made: bytes) -> None:
    was, now = dict(split(cert.leaves)), dict(split(made))
    differing = {which for which in now if was.get(which) != now[which]}
    for table in await effect_tables(store):
        shape = table.shape
        for row in await store.fetch(table.query, cert.lane, cert.lane_seq, cert.lane_seq):
            leaf = shape.leaf(tuple(row.values()))
            if leaf[:16] not in differing:
                continue
            differing.discard(leaf[:16])
            code = "ROW_DIFFERS" if leaf[:16] in was else "ROW_ONLY_IN_REPLAY"
            detail = await _detail(store, shadow, table, row)
            book.find(table.law, code, table.place(row), detail, cert.lane, cert.lane_seq)
    for which in differing:
        book.find(
            "I2", "ROW_ONLY_IN_REPLAY", f"leaf {which.hex()}", "a row that a later input rewrote or took away", cert.lane, cert.lane_seq
        )
    for which in was.keys() - now.keys():
        detail = "the recorded transaction wrote a row that the replay did not write"
        book.find("I2", "ROW_ONLY_RECORDED", f"leaf {which.hex()}", detail, cert.lane, cert.lane_seq)


async def _detail(store: Db, shadow: Shadow, table: EffectTable, row: Any) -> str:
    """Which columns differ from the original's row, where that one is still there as this transaction wrote it."""
    key = " AND ".join(f"{quote(name)} IS NOT DISTINCT FROM ${i}" for i, name in enumerate(table.key, 1))
    columns = ", ".join(map(quote, table.columns))
    found = await store.fetchrow(
        f"SELECT {columns} FROM {quote(shadow.original)}.{quote(table.name)} WHERE {key}", *(row[name] for name in table.key)
    )
    if found is None:
        return "there is no such row"
    differing = [name for name in table.columns if found[name] != row[name]]
    if "lane_seq" in differing:
        return "a later transaction rewrote the recorded row: its digest is what differs"
    return (
        "; ".join(_column_detail(name, found[name], row[name]) for name in differing) or "the store's row is as replayed; its leaf is not"
    )


def _column_detail(name: str, was: Any, now: Any) -> str:
    if name == "value":
        paths = _paths(_payload(was), _payload(now))
        return f"payload differs at {', '.join(paths[:5]) or 'its envelope'}"
    return f"{name} was {shown(was)}, is {shown(now)}"


def _payload(value: bytes) -> Any:
    return json.loads(bytes(decode_envelope(value).payload))


def _paths(was: Any, now: Any, at: str = "") -> list[str]:
    """Where two JSON values differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [path for name in sorted(was.keys() | now.keys()) for path in _paths(was.get(name), now.get(name), f"{at}/{name}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [path for i, (a, b) in enumerate(zip(was, now, strict=True)) for path in _paths(a, b, f"{at}/{i}")]
    return [] if was == now else [f"{at or '/'} (was {str(was)[:60]}, is {str(now)[:60]})"]
