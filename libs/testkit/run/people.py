"""The people of the run: the outside that disputes and charges back, and the investigators who work the cases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp

from spine.deadline import Deadline
from testkit.run.platform import Platform
from testkit.world import (
    ExternalSignal,
    FraudBook,
    Identity,
    LabelDraft,
    Outside,
    Step,
    TriggerType,
    WorldConfig,
    decide,
    label_of,
    pins_of,
)
from testkit.world.identity import traceparent_of

_CASE_LANES = 3
_OUTSIDE = "EXTERNAL::card_scheme"
_READER = "HUMAN::analyst-00"
_AT_ONCE = 8
# How long a case may take to appear after its signal was acknowledged.
_CASE_SECONDS = 60.0


class People:
    """Sends signals when their world time has come, and asserts labels about the cases that appear."""

    def __init__(self, platform: Platform, config: WorldConfig) -> None:
        self._platform = platform
        self._config = config
        self._pins = {**_pins(config), "platform_run_id": platform.run.platform_run_id, "scenario_run_id": platform.run.scenario_run_id}
        self._outside = Outside(config)
        self._book = FraudBook(config)
        self._session: aiohttp.ClientSession | None = None
        self._after = dict.fromkeys(range(_CASE_LANES), 0)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._times: dict[str, int] = {}
        self._now_us = 0
        self.signals: set[str] = set()
        self.assertions: set[str] = set()
        """label_assertion_ids that CM has promised to hand over."""

    async def start(self) -> None:
        """Open the connections."""
        self._session = aiohttp.ClientSession()

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def observe(self, step: Step) -> None:
        """See one step of the world."""
        self._outside.observe(step)
        self._book.observe(step)
        self._now_us = max(self._now_us, step.at_us)

    async def live_until(self, world_us: int) -> None:
        """Do what is due up to a world time."""
        self._now_us = max(self._now_us, world_us)
        await self._signal(self._outside.due(world_us))
        await self._work_cases()

    async def live_out(self) -> None:
        """The fast-forward at the end: everything that the outside still has to say."""
        rest = self._outside.rest()
        if rest:
            self._now_us = max(self._now_us, rest[-1].at_us)
        await self._signal(rest)

    async def work(self) -> int:
        """Look for triggered cases and work them; how many there were."""
        return await self._work_cases()

    # --- the outside ---

    async def _signal(self, signals: list[ExternalSignal]) -> None:
        async with asyncio.TaskGroup() as group:
            for signal in signals:
                self._times[signal.about.event_id] = signal.ts_us
                group.create_task(self._one_signal(signal))

    async def _one_signal(self, signal: ExternalSignal) -> None:
        body = {
            "signal_id": signal.external_ref,
            "signal_kind": signal.kind.value,
            "case_subject_key": _subject(signal.about),
            "pins": self._pins,
            "observed_time": _instant(signal.at_us),
            "external_ref": signal.external_ref,
        }
        trace = traceparent_of(signal.about.event_id, 0, self._config.sampled_one_in)
        answer = await self._post("case_trigger", "/v1/signals", body, _OUTSIDE, trace)
        self.signals.add(answer["case_trigger_id"])
        draft = label_of(signal)
        if draft is not None:
            case = await self._case(answer["case_id"], Deadline(_CASE_SECONDS))
            await self._assert(case, draft, signal.external_ref)

    # --- investigators ---

    async def _work_cases(self) -> int:
        found: set[str] = set()
        for lane in range(_CASE_LANES):
            while True:
                page = await self._get("case_management", f"/v1/triggered?lane={lane}&after={self._after[lane]}")
                found.update(page["case_ids"])
                moved = page["next_after"] > self._after[lane]
                self._after[lane] = max(self._after[lane], page["next_after"])
                if not moved:
                    break
        async with asyncio.TaskGroup() as group:
            for case_id in sorted(found):
                group.create_task(self._work_case(case_id))
        return len(found)

    async def _work_case(self, case_id: str) -> None:
        case = await self._case(case_id, Deadline(_CASE_SECONDS))
        subject = Identity(case["platform_run_id"], case["subject_event_class"], case["subject_event_id"])
        triggers = {TriggerType(name) for name in case["trigger_types"].split(",")}
        event_us = self._times.get(subject.event_id, _us(case["first_observed_time"]))
        for draft in decide(subject, event_us, triggers, self._book, self._now_us):
            await self._assert(case, draft, draft.actor_id or "")

    async def _assert(self, case: dict[str, Any], draft: LabelDraft, source: str) -> None:
        reference = f"{case['case_id']}:{draft.label_type}:{source}"
        entries = [entry for entry in case["timeline"] if entry["timeline_event_type"] == "INVESTIGATOR_ASSERTION"]
        if any(entry["source_ref_id"] == f"assertion:{reference}" for entry in entries):
            return  # a case is triggered again and again; a person says a thing once
        trigger = case["timeline"][0]["case_timeline_event_id"]
        evidence = [{"ref_type": "CASE_EVENT", "ref_id": trigger}]
        if draft.external_ref is not None:
            evidence.append({"ref_type": "EXTERNAL_REF", "ref_id": draft.external_ref})
        body = {
            "assertion_ref": reference,
            "case_id": case["case_id"],
            "label_type": draft.label_type,
            "label_value": draft.label_value,
            "effective_time": draft.effective_time,
            "observed_time": draft.observed_time,
            "source_type": draft.source_type,
            "pins": self._pins,
            "evidence_refs": evidence,
        }
        if draft.actor_id is not None:
            body["actor_id"] = draft.actor_id
        answer = await self._post(
            "case_management", f"/v1/cases/{case['case_id']}/assertions", body, draft.actor_id or _OUTSIDE, case["traceparent"]
        )
        self.assertions.add(answer["label_assertion_id"])

    # --- HTTP ---

    async def _case(self, case_id: str, deadline: Deadline) -> dict[str, Any]:
        while True:
            case: dict[str, Any] | None = await self._get("case_management", f"/v1/cases/{case_id}", missing_is_none=True)
            if case is not None:
                return case
            deadline.check(f"case {case_id} to appear")
            await asyncio.sleep(0.1)

    async def _get(self, service: str, path: str, *, missing_is_none: bool = False) -> Any:
        headers = {"authorization": f"Bearer {self._platform.token(_READER)}"}
        while True:
            async with self._slots, self._open().get(self._platform.url(service) + path, headers=headers) as answer:
                if answer.status == 404 and missing_is_none:
                    return None
                if answer.status == 200:
                    return await answer.json()
                text = await answer.text()
            await self._again(service, path, answer.status, text)

    async def _post(self, service: str, path: str, body: dict[str, Any], principal: str, trace: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self._platform.token(principal)}", "traceparent": trace}
        while True:
            async with self._slots, self._open().post(self._platform.url(service) + path, json=body, headers=headers) as answer:
                if answer.status in (200, 201, 202):
                    said: dict[str, Any] = await answer.json()
                    return said
                text = await answer.text()
            await self._again(service, path, answer.status, text)

    async def _again(self, service: str, path: str, status: int, text: str) -> None:
        if status != 503:
            raise RuntimeError(f"{service} {path} answered {status}: {text}")
        await asyncio.sleep(0.2)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("people are not started")
        return self._session


def _pins(config: WorldConfig) -> dict[str, str]:
    pins = pins_of(config)
    return {
        "manifest_fingerprint": pins.manifest_fingerprint,
        "parameter_hash": pins.parameter_hash,
        "seed": str(pins.seed),
        "scenario_id": pins.scenario_id,
    }


def _subject(identity: Identity) -> dict[str, str]:
    return {"platform_run_id": identity.platform_run_id, "event_class": identity.event_class, "event_id": identity.event_id}


def _instant(us: int) -> str:
    return datetime.fromtimestamp(us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _us(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1_000_000)
