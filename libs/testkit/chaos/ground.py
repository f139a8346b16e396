"""One service on real engines, ready to be hurt: its site, its outside, its wire to the store, its workers, and who feeds it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from spine.deadline import Deadline
from spine.faults import TRANSIENT_STORE
from spine.service import Service
from testkit.chaos.audited import audited
from testkit.chaos.commit_proxy import CommitProxy
from testkit.chaos.feeder import Feeder
from testkit.chaos.quiet import until_quiet
from testkit.chaos.workers import Forked, ForkServer
from testkit.engines import Endpoints
from testkit.harness import Site, new_site
from testkit.workloads import Workload

# A short lease makes deaths short. Every other timeout is as long as it can be below it, since two busy cores make a statement slow long
# before it is stuck.
LEASE = 1.2
_SHARES_OF_LEASE = {"LOCK": 0.4, "STATEMENT": 0.65, "IDLE_IN_TRANSACTION": 0.75, "DRAIN": 0.85, "LEASE": 1.0}
_OWNS = "SELECT EXISTS (SELECT 1 FROM worker JOIN lane_lease l ON owner = worker_id WHERE address LIKE $1 AND l.until > now())"
_QUIET_SECONDS = 120.0
_END_SECONDS = 30.0


class Ground:
    """Made by `ground`."""

    def __init__(
        self,
        workload: Workload,
        service: Service,
        site: Site,
        server: ForkServer,
        proxy: CommitProxy,
        folder: Path,
        seed: int,
        lease: float,
    ) -> None:
        self.workload = workload
        self.service = service
        self.site = site
        self.proxy = proxy
        self.folder = folder
        self.lease = lease
        self._server = server
        self.workers: list[Forked] = []
        self.feeder = Feeder(site, self._ports, seed)

    def worker(self, environment: Mapping[str, str] | None = None, wire: CommitProxy | None = None) -> Forked:
        """Start a worker; its wire to the store is the one that can break, or one of its own."""
        place = {"FP_DATABASE_URL": (wire or self.proxy).through(self.site.dsn(self.service.name)), **(environment or {})}
        worker = self._server.worker(self.site, self.service.name, self.workload.module, self.workload.paths, self.folder, place)
        self.workers.append(worker)
        return worker

    def _ports(self) -> list[int]:
        return [worker.port for worker in self.workers if worker.alive and not worker.stopped.is_set()]

    async def owns(self, worker: Forked) -> bool:
        """Whether a worker has a lane now; nobody has one while the store is down."""
        try:
            async with self.site.store(self.service.name) as store:
                return bool(await store.fetchval(_OWNS, f"%:{worker.port}"))
        except TRANSIENT_STORE:
            return False

    async def settle(self) -> None:
        """Every input is taken, applied and published. Raises DeadlineExceededError with what is left."""
        deadline = Deadline(_QUIET_SECONDS)
        async with asyncio.timeout(deadline.left):
            await self.feeder.settled()
        await until_quiet(self.site, self.service, deadline)

    async def audited(self) -> list[str]:
        """What the auditor finds now; only of a place that is quiet."""
        return await audited(self.site, self.workload, self.service)

    async def end(self) -> None:
        """SIGTERM to every worker; each drains and ends well. Raises RuntimeError for one that did not."""
        left = [worker for worker in self.workers if worker.alive]
        deadline = Deadline(_END_SECONDS)
        for worker in left:
            await worker.ready(deadline)  # before that, a SIGTERM finds nothing to drain, and ends it as any process
            worker.send(signal.SIGTERM)
        codes = {worker.log.name: await worker.gone(deadline) for worker in left}
        if any(codes.values()):
            raise RuntimeError(f"workers ended in disorder: {codes}")


@contextlib.asynccontextmanager
async def ground(
    endpoints: Endpoints,
    server: ForkServer,
    workload: Workload,
    folder: Path,
    seed: int,
    *,
    lease: float = LEASE,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Ground]:
    """A fresh database, topics and an open run for one workload; whatever worker is left at the end is killed."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  once, before anything runs
    site = await new_site(endpoints)
    site.environment |= {f"FP_TIMEOUT_{name}": f"{share * lease:g}" for name, share in _SHARES_OF_LEASE.items()} | dict(environment or {})
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(workload.outside(site, folder, seed))
        # A role belongs to the whole cluster: on shared engines all who run a service at once must agree on its password.
        site.passwords[workload.service] = workload.service
        service: Service = importlib.import_module(workload.module).build(site.settings(workload.service))
        await asyncio.gather(site.topics(workload.all_topics), site.install(service))
        proxy = CommitProxy(site.dsn(workload.service))
        await stack.enter_async_context(proxy.relaying())
        made = Ground(workload, service, site, server, proxy, folder, seed, lease)
        await made.feeder.start()
        stack.push_async_callback(made.feeder.stop)
        try:
            yield made
        finally:
            for worker in made.workers:
                worker.send(signal.SIGKILL)
