"""Engines, topics, schemas and processes of one run."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from audit.offline import declared
from laws.ids import scenario_run_id
from spine.deadline import Deadline, DeadlineExceededError
from spine.tokens import issue
from testkit.edge_site import edge_ready
from testkit.engines import EngineSet, Kind, attached, start
from testkit.harness import Process, Site, free_port, module_argv, new_site, worker_process
from testkit.world import RunIds

SERVICES = ("decision_fabric", "action_layer", "decision_log_audit", "case_trigger", "case_management", "label_store")

# Importing takes a service about a second of CPU; nine processes on two busy cores start within this.
_START_SECONDS = 90.0
# A worker drains within 4 s, the edge answers what it has taken within its request timeout (30 s).
_END_SECONDS = 40.0
_API_KEY_BYTES = 24
# How far each gives way to decisions, which somebody waits for. The edge a little: what is admitted is decided before more is admitted. An
# action may come a moment later, and what keeps records makes up for it in larger transactions, which cost less. Left to equal shares, a
# full machine made every decision late.
_NICENESS = {"ingress": 2, "action_layer": 5, "decision_log_audit": 10, "case_trigger": 10, "case_management": 10, "label_store": 10}
_SANDBOXES = "2"  # requests that the edge judges at once, each a process
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class PlatformPlan:
    """How many processes run, and what they are told beyond their addresses."""

    seed: int = 42
    """Of the provider's faults."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Processes of a service; one where it is not named."""
    edge: Mapping[str, str] = field(default_factory=dict)
    """Environment of the edge, over what it has by default."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Environment of every service's workers."""
    archive: bool = False
    """Whether the edge archives receipts and refusals, into a folder of the run."""
    enduring: bool = False
    """Whether the broker is to work for minutes under load, rather than to start fast."""
    runner: str | None = None
    """A module that runs the module of a service, of the edge or of the provider; it finds its output in FP_PROFILE_OUT."""


@dataclass
class Platform:
    """Everything that runs."""

    engines: EngineSet
    owned: bool
    site: Site
    run: RunIds
    folder: Path
    release_id: str
    api_key: str
    processes: dict[str, list[Process]] = field(default_factory=dict)

    @property
    def archive(self) -> Path:
        """Where the edge's archive is, if it has one."""
        return self.folder / "archive"

    async def end_edge(self) -> None:
        """SIGTERM to the edge alone: it answers what it has taken, and archives what it admitted. Raises DeadlineExceededError."""
        for process in self.processes["ingress"]:
            process.terminate()
            await process.ended(Deadline(_END_SECONDS))

    def token(self, principal: str) -> str:
        """A bearer token of this run."""
        return issue(self.site.token_secret, principal)

    def url(self, service: str) -> str:
        """Where the first process of a service answers."""
        return f"http://127.0.0.1:{self.processes[service][0].port}"

    def all_processes(self) -> list[Process]:
        """Every process, in the order of starting."""
        return [process for processes in self.processes.values() for process in processes]

    async def stop(self) -> None:
        """SIGTERM to every process, then the engines where this run started them.

        Raises RuntimeError naming the processes that had to be killed.
        """
        for process in self.all_processes():
            process.terminate()
        deadline = Deadline(_END_SECONDS)
        killed = []
        for process in self.all_processes():
            try:
                if process.alive:
                    await process.ended(deadline)
            except DeadlineExceededError:
                process.kill()
                killed.append(process.name)
        if self.owned:
            await asyncio.to_thread(self.engines.stop)
        if killed:
            raise RuntimeError(f"{', '.join(killed)} did not end within {_END_SECONDS:g} s of SIGTERM, and was killed")


def release_of(root: Path) -> str:
    """What runs: the commit, and a digest of what differs from it; never a name that moves."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return f"sources-{_digest_of_sources(root)}"
    changes = _git(root, "diff", "HEAD")
    return f"git-{commit}" if not changes else f"git-{commit}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607  a fixed command
    return done.stdout.strip() if done.returncode == 0 else ""


def _digest_of_sources(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.glob("*/*/**/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


async def raise_platform(plan: PlatformPlan, folder: Path, run: RunIds, say: Callable[[str], None]) -> Platform:
    """Engines up, topics and schemas made, every process ready."""
    engines = await asyncio.to_thread(attached)
    owned = engines is None
    if engines is None:
        say("engines: starting Kafka, PostgreSQL and DynamoDB Local")
        engines = await asyncio.to_thread(start, enduring={Kind.KAFKA} if plan.enduring else ())
    platform = Platform(
        engines, owned, await new_site(engines.endpoints), run, folder, release_of(_ROOT), secrets.token_hex(_API_KEY_BYTES)
    )
    try:
        await _install(platform, say)
        await _start(platform, plan, say)
    except BaseException:
        await platform.stop()
        raise
    return platform


async def _install(platform: Platform, say: Callable[[str], None]) -> None:
    site = platform.site
    site.environment["FP_RELEASE_ID"] = platform.release_id
    say("topics: fourteen, from the catalogue")
    await site.topics()
    for name in SERVICES:
        site.passwords[name] = secrets.token_hex(16)
    say(f"schemas: {', '.join(SERVICES)}")
    for name in SERVICES:
        await site.install(declared(name, site.settings(name)), platform_run_id=platform.run.platform_run_id)


async def _start(platform: Platform, plan: PlatformPlan, say: Callable[[str], None]) -> None:
    site, folder = platform.site, platform.folder
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    provider = _provider(folder, plan)
    provider.start()
    site.environment["FP_PROVIDER_URL"] = f"http://127.0.0.1:{provider.port}"
    label_store_port = free_port()
    site.environment["FP_LABEL_STORE_URL"] = f"http://127.0.0.1:{label_store_port}"
    edge = _edge(platform, plan)
    platform.processes = {"provider": [provider], "ingress": [edge]}
    for name in SERVICES:
        port = label_store_port if name == "label_store" else None
        # One port is told to others: only the first worker of the label store can have it.
        workers = [_worker(platform, plan, name, number, None if number else port) for number in range(plan.workers.get(name, 1))]
        platform.processes[name] = workers
    edge.start()
    for name in SERVICES:
        for process in platform.processes[name]:
            process.start()
    say(f"processes: {sum(len(group) for group in platform.processes.values())} starting")
    deadline = Deadline(_START_SECONDS)
    await edge_ready(edge, deadline)
    await asyncio.gather(*(process.ready(deadline) for name in SERVICES for process in platform.processes[name]))


def _worker(platform: Platform, plan: PlatformPlan, name: str, number: int, port: int | None) -> Process:
    spans = platform.folder / "spans"
    spans.mkdir(exist_ok=True)
    environment = {**plan.services, **_profile(platform.folder, name, number)}
    process = worker_process(
        platform.site,
        name,
        name,
        platform.folder / "logs",
        environment=environment,
        port=port,
        runner=plan.runner,
        niceness=_NICENESS.get(name, 0),
    )
    process.environment["FP_OTLP_FILE"] = str(spans / f"{name}-{process.port}.jsonl")
    return process


def _profile(folder: Path, name: str, number: int = 0) -> dict[str, str]:
    return {"FP_PROFILE_OUT": str(folder / f"profile-{name}-{number}.json")}


def _provider(folder: Path, plan: PlatformPlan) -> Process:
    port = free_port()
    argv = [
        *module_argv("testkit.provider", plan.runner),
        "--port",
        str(port),
        "--journal",
        str(folder / "provider.journal"),
        "--seed",
        str(plan.seed),
    ]
    return Process("provider", argv, _profile(folder, "provider"), port, folder / "logs" / "provider.log")


def _edge(platform: Platform, plan: PlatformPlan) -> Process:
    port = free_port()
    endpoints = platform.engines.endpoints
    environment = {
        "FP_ENV": "local_parity",
        "FP_IG_RELEASE_ID": platform.release_id,
        "FP_IG_ACTIVE_RUN": platform.run.platform_run_id,
        "FP_IG_API_KEY_HASHES": hashlib.sha256(platform.api_key.encode()).hexdigest(),
        "FP_IG_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
        "FP_IG_KAFKA_SECURITY": "PLAINTEXT",
        "FP_IG_TOPIC_PREFIX": platform.site.prefix,
        "FP_IG_REGION": "local",
        "FP_IG_DYNAMODB_ENDPOINT": endpoints.dynamodb_endpoint,
        "FP_IG_IDEMPOTENCY_TABLE": f"{platform.site.database}-ig-idempotency",
        "FP_IG_QUARANTINE_TABLE": f"{platform.site.database}-ig-quarantine",
        "FP_IG_RATE_PROFILE": "scale",
        # DynamoDB Local takes any credentials, and wants some.
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        **_profile(platform.folder, "ingress"),
        **plan.edge,
    }
    # As in the cloud, under Lambda's runtime client; in one process where a profiler looks at it, or its rows are in its memory.
    in_process = plan.runner is not None or environment.get("FP_IG_TABLE") == "memory"
    argv = [*module_argv("ingress", plan.runner), "--port", str(port), "--ensure-tables", "--sandboxes", "0" if in_process else _SANDBOXES]
    if plan.archive:
        argv += ["--archive", str(platform.archive)]
    return Process("ingress", argv, environment, port, platform.folder / "logs" / "ingress.log", _NICENESS["ingress"])


def new_run(seed: int) -> RunIds:
    """Ids of a new run: never reused for a second attempt (domain.md 2.16)."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return RunIds(f"platform_{now}", scenario_run_id({"world": "testkit", "seed": str(seed)}))
