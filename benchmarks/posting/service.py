"""One door, one state row, one output."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.workload import PAYMENT, POSTING, Payment, Posting
from laws.ids import hex64
from spine.service import Effects, Emit, Event, LaneGroup, On, Put, Read, Reads, Service, State
from spine.settings import Settings
from spine.tables import Mode, Table


class Account(msgspec.Struct, frozen=True):
    """What an account has come to."""

    account_id: str
    balance_minor: int
    postings: int


ACCOUNTS = Table("account", Account, ("account_id",), Mode.STATE)


def account_of(event: Event[Payment]) -> Reads:
    """The row that a payment moves."""
    yield Read(ACCOUNTS, (event.body.account_id,))


def on_payment(event: Event[Payment], state: State) -> Effects:
    """Post a payment to its account, and tell where it left it."""
    payment, identity = event.body, event.identity
    before = state.get(ACCOUNTS, payment.account_id) or Account(payment.account_id, 0, 0)
    after = Account(payment.account_id, before.balance_minor + payment.amount_minor, before.postings + 1)
    posting = Posting(payment.account_id, after.balance_minor, identity.event_id, after.postings)
    return [
        Put(ACCOUNTS, after),
        Emit(POSTING, hex64("bench.posting.v1", [identity.platform_run_id, identity.event_id]), posting, identity.event_id),
    ]


def build(settings: Settings) -> Service:
    """The whole service."""
    return Service(
        name="posting",
        runtime_lane="df",
        policy_rev="posting.v1",
        policy_content={"rules": "none"},
        groups=(LaneGroup("account", doors=(On(PAYMENT, on_payment, account_of),)),),
        migrations=Path(__file__).parent / "migrations",
        tables=(ACCOUNTS,),
    )
