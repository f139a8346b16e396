"""Doors: entries and keys by record, adjustments by command, waits by timer, payouts by answer."""

from collections.abc import Iterable
from pathlib import Path

import aiohttp
import msgspec

from laws.catalogue import EventType
from laws.event_classes import EventClass
from laws.fields import Label
from laws.ids import hex64
from laws.pins import PIN_FIELDS, ContextPins
from laws.topics import KeyRecipe, Topic, TopicClass
from spine.deadline import Deadline
from spine.service import (
    Answer,
    Append,
    Call,
    Cause,
    Command,
    Due,
    Effects,
    Emit,
    Event,
    LaneGroup,
    On,
    Put,
    Read,
    Reads,
    ReadWaits,
    Reply,
    Service,
    Settle,
    State,
    Task,
    TaskResult,
    Timer,
    Wait,
)
from spine.settings import Settings
from spine.tables import Mode, Table

_ACCOUNT_KEY = KeyRecipe("test.key.account.v1", ((("account",),),))


def _topic(name: str) -> Topic:
    return Topic(name, TopicClass.HIGH_VOLUME, 3, 7, ("test",), ("ledger",), _ACCOUNT_KEY)


ENTRIES = _topic("test.entries.v1")
KEYS = _topic("test.keys.v1")
POSTED = _topic("test.posted.v1")
TOPICS = (ENTRIES, KEYS, POSTED)


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    account: Label
    amount: int
    note: str = ""


class KeyGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: Label


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: Label
    entry: str
    balance: int
    how: str


class Adjust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: Label
    amount: int
    pins: ContextPins
    observed_time: str


class Adjusted(msgspec.Struct, frozen=True):
    balance: int


ENTRY = EventType("test_entry", EventClass.TRAFFIC_FRAUD, ENTRIES, Entry, PIN_FIELDS, ("v1",))
KEY = EventType("test_key", EventClass.CONTEXT_FLOW_FRAUD, KEYS, KeyGiven, PIN_FIELDS, ("v1",))
POSTED_EVENT = EventType("test_posted", EventClass.RTDL_DECISION, POSTED, Posted, PIN_FIELDS, ("v1",))
ADJUST = EventType("test_adjust", EventClass.OPERATOR, None, Adjust, PIN_FIELDS, ("v1",))


class Account(msgspec.Struct, frozen=True):
    account: str
    balance: int
    entries: int
    keyed: bool


class EntryRow(msgspec.Struct, frozen=True):
    event_id: str
    account: str
    amount: int
    how: str


class Seen(msgspec.Struct, frozen=True):
    """Shared: how often each lane saw a note."""

    note: str
    times: int


ACCOUNTS = Table("account", Account, ("account",), Mode.STATE)
ROWS = Table("entry", EntryRow, ("event_id",), Mode.APPEND)
NOTES = Table("note", Seen, ("note",), Mode.SHARED)


def _account(state: State, account: str) -> Account:
    return state.get(ACCOUNTS, account) or Account(account, 0, 0, False)


def _post(state: State, event: Event[Entry], how: str) -> Iterable[Put | Append | Emit]:
    entry = event.body
    before = _account(state, entry.account)
    after = msgspec.structs.replace(before, balance=before.balance + entry.amount, entries=before.entries + 1)
    identity = event.identity
    yield Put(ACCOUNTS, after)
    yield Append(ROWS, EntryRow(identity.event_id, entry.account, entry.amount, how), event.cause)
    output = hex64("test.posted.v1", [identity.platform_run_id, identity.event_id])
    yield Emit(POSTED_EVENT, output, Posted(entry.account, identity.event_id, after.balance, how), identity.event_id, event.cause)


def on_entry(event: Event[Entry], state: State) -> Effects:
    note = event.body.note
    if note == "poison":
        raise ValueError("this entry is poison")
    if note == "bad":
        # The store refuses it: the row's key is there already.
        return [Append(ROWS, EntryRow("fixed", event.body.account, 0, "bad"))]
    if note == "wait" and not _account(state, event.body.account).keyed:
        return [Wait("key_wait", event.body.account, 0.6, until_read=KEYS.name, cap=20.0)]
    if note == "pay":
        request = msgspec.json.encode({"verb": "pay", "account": event.body.account})
        return [*_post(state, event, "entry"), Call("payout", event.identity.event_id, request)]
    if note.startswith("count"):
        own = state.own(NOTES, note)
        total = sum(row.times for row in state.all_lanes(NOTES, note))
        effects = _post(state, event, f"seen {total}")
        return [*effects, Put(NOTES, Seen(note, (own.times if own else 0) + 1))]
    return list(_post(state, event, "entry"))


def entry_reads(event: Event[Entry]) -> Reads:
    yield Read(ACCOUNTS, (event.body.account,))
    if event.body.note.startswith("count"):
        yield Read(NOTES, (event.body.note,))


def on_key(event: Event[KeyGiven], state: State) -> Effects:
    account = _account(state, event.body.account)
    effects: list[Put | Append | Emit | Settle] = [Put(ACCOUNTS, msgspec.structs.replace(account, keyed=True))]
    for waiting in state.waits("key_wait", event.body.account):
        # One wait an account is all that the tests need: two would both start from the balance read above.
        posted = list(_post(state, waiting.event, "keyed"))
        keyed = [Put(ACCOUNTS, msgspec.structs.replace(effect.row, keyed=True)) if isinstance(effect, Put) else effect for effect in posted]
        effects += [Settle(waiting), *keyed]
    return effects


def key_reads(event: Event[KeyGiven]) -> Reads:
    yield Read(ACCOUNTS, (event.body.account,))
    yield ReadWaits("key_wait", event.body.account)


def on_late(due: Due[Entry], state: State) -> Effects:
    return list(_post(state, due.event, "capped" if due.capped else "late"))


def late_reads(due: Due[Entry]) -> Reads:
    yield Read(ACCOUNTS, (due.event.body.account,))


def on_adjust(event: Event[Adjust], state: State) -> Effects:
    before = _account(state, event.body.account)
    after = msgspec.structs.replace(before, balance=before.balance + event.body.amount)
    return [Put(ACCOUNTS, after), Reply(201, Adjusted(after.balance))]


def adjust_reads(event: Event[Adjust]) -> Reads:
    yield Read(ACCOUNTS, (event.body.account,))


def on_paid(answer: Answer, state: State) -> Effects:
    how = f"{answer.result} after {len(answer.attempts)}"
    return [Append(ROWS, EntryRow(f"paid:{answer.ref}", "", 0, how))]


class Outside:
    """Calls the outside of the tests, a server of theirs."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def submit(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        async with aiohttp.ClientSession() as session, session.post(f"{self._url}/{ref}", data=request) as answer:
            body = await answer.read()
            if answer.status == 503:
                return TaskResult("RETRY", code="503")
            return TaskResult("DONE" if answer.status == 201 else "REFUSED", body=body, code=str(answer.status))

    async def lookup(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        async with aiohttp.ClientSession() as session, session.get(f"{self._url}/{ref}") as answer:
            body = await answer.read()
            return TaskResult("ABSENT") if answer.status == 404 else TaskResult("DONE", body=body)


def build(settings: Settings) -> Service:
    outside = Outside(settings.provider_url)
    return Service(
        name="ledger",
        runtime_lane="df",
        policy_rev="ledger.v1",
        policy_content={"rules": "none"},
        groups=(
            LaneGroup(
                "account",
                doors=(On(KEY, on_key, key_reads), On(ENTRY, on_entry, entry_reads)),
                commands=(Command(ADJUST, on_adjust, lambda body: [body.account], adjust_reads),),
                timers=(Timer("key_wait", on_late, late_reads),),
                tasks=(Task("payout", outside.submit, outside.lookup, on_paid, call_seconds=1.0),),
            ),
        ),
        migrations=Path(__file__).parent / "migrations",
        tables=(ACCOUNTS, ROWS, NOTES),
    )
