"""What a cold start waits for, and what a frozen sandbox thaws with (engines.md, Imports and cold start; lesson L5)."""

import asyncio
import re
import resource
import subprocess
import sys

import pytest

from ingress import bus as bus_module
from ingress.bus import IDLE_S, Bus
from ingress.settings import EdgeSettings
from spine.msk_iam import MskIamTokens
from tests.ingress.rig import Site, push, settled, traffic
from tests.ingress.test_parts import settings as managed

BUDGET_MS = 250
"""CPU of the handler's imports, over that of an interpreter that starts and ends."""
MODULE_BUDGET = 0.35
"""No module that is not the interpreter's own takes more than this share, with what it alone brings in."""
HEAVY = (
    "aiohttp", "aiokafka", "aws_msk_iam_sasl_signer", "boto3", "botocore", "fastapi", "opentelemetry", "pydantic", "rich", "spine.bus",
    "sqlalchemy", "structlog",
)  # fmt: skip
"""What the first request may need, and the handler's module does not."""
_RUNS = 12
_ROW = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| +(\S+)")


def cpu_ms(code: str) -> float:
    """CPU of a process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def least_cpu_ms(code: str, enough: float) -> float:
    """The least of some runs, fewer where one needs no more than `enough`: what others on the machine do is not what it costs."""
    least = float("inf")
    for _ in range(_RUNS):
        least = min(least, cpu_ms(code) - cpu_ms("pass"))
        if least <= enough:
            break
    return least


def own_us(module: str) -> dict[str, int]:
    """What each module takes by itself when `module` is imported (-X importtime)."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", f"import {module}"], capture_output=True, text=True, check=True)
    return {match[3]: int(match[1]) for match in _ROW.finditer(done.stderr)}


@pytest.mark.parametrize("module", ["ingress.handler", "ingress.reconciler_handler", "ingress.archive_handler"])
def test_a_handler_imports_within_its_budget(module: str) -> None:
    taken = own_us(module)
    assert module in taken
    assert {name for name in taken if name.partition(".")[0] in HEAVY or name in HEAVY} == set()
    total = sum(taken.values())
    greedy = {name: us for name, us in taken.items() if us > MODULE_BUDGET * total}
    assert greedy == {}
    used = least_cpu_ms(f"import {module}", BUDGET_MS)
    assert used <= BUDGET_MS, sorted(taken.items(), key=lambda entry: -entry[1])[:10]


async def test_a_thawed_sandbox_publishes_on_new_connections(site: Site) -> None:
    now = 1_000_000.0
    settings = site.settings(probe_s=3600)
    bus = Bus(settings, now=lambda: now)
    async with site.edge(probe_s=3600) as edge:
        edge.bus = edge._admission._bus = bus
        assert (await settled(edge, traffic())).decision == "ADMIT"
        first = bus._line
        now += IDLE_S
        assert (await push(edge, traffic())).decision == "ADMIT"
        assert bus._line is first  # it was in use until just now
        now += IDLE_S + 1
        assert (await push(edge, traffic())).decision == "ADMIT"
        assert bus._line is not first
    await bus.stop()


async def test_a_thawed_sandbox_connects_with_a_new_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen past the token's life: what it connects with next is signed anew."""
    now, signed = 1_000_000.0, 0
    seen: list[str] = []

    def sign(region: str) -> tuple[str, float]:
        nonlocal signed
        signed += 1
        return f"token {signed} for {region}", (now + 900) * 1000

    def tokens(region: str) -> MskIamTokens:
        return MskIamTokens(region, sign, lambda: now)

    async def connect(self: Bus) -> None:
        self._options = self._options or bus_module._client_options(self._settings)
        seen.append(await self._options["sasl_oauth_token_provider"].token())
        self._line = bus_module._Line(_Producer(), _future(), {})

    monkeypatch.setattr("spine.msk_iam.MskIamTokens", tokens)
    monkeypatch.setattr(Bus, "_connect", connect)
    settings: EdgeSettings = managed()
    bus = Bus(settings, now=lambda: now)
    await bus.ensure()
    now += 200
    await bus.ensure()
    assert seen == ["token 1 for eu-west-1"]
    now += 3600
    await bus.ensure()
    assert seen == ["token 1 for eu-west-1", "token 2 for eu-west-1"]


class _Client:
    async def close(self) -> None:
        """There is nothing to close."""


class _Producer:
    _closed = False
    _sender = type("Sender", (), {"sender_task": None})
    client = _Client()


def _future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()
