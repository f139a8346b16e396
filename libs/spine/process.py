"""One process of a service: what it opens, its worker and its surface until SIGTERM, what it closes (runtime.md, The lane)."""

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterator

import uvicorn
import uvloop

from laws.canonical import canonical_json
from laws.headers import Provenance
from spine.bus import TopicWatch, client_options, make_producer
from spine.commands import CommandDoor
from spine.consumers import Consumers
from spine.contention import Contention
from spine.emission import Emitter
from spine.fault_injection import install_faults
from spine.garbage import tune_garbage_collection
from spine.inputs import Decoder
from spine.lane_worker import new_worker_id
from spine.lanes import group_topics
from spine.ownership import Ownership
from spine.runtime import Runtime
from spine.scheduled import Scheduled
from spine.service import Service
from spine.settings import PostureError, Settings, load_settings
from spine.steps import Step, reached
from spine.store import close_pool, open_pool, provenance_number
from spine.surface import build_app
from spine.telemetry import Telemetry, configure_logs
from spine.together import Together
from spine.transaction import Law
from spine.worker import Worker


def bundle_id(service: Service) -> str:
    """Digest (hex64) of what decides."""
    return hashlib.sha256(canonical_json(dict(service.policy_content))).hexdigest()


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield


async def build_runtime(service: Service, settings: Settings) -> Runtime:
    """Open everything that a worker needs. Raises the first dependency's own error."""
    worker_id = new_worker_id()
    configure_logs(service.name, worker_id)
    provenance = Provenance(service.policy_rev, bundle_id(service), settings.config_digest(), settings.release_id)
    pool = await open_pool(settings, service.name)
    options = client_options(settings)
    decoders = {group.name: Decoder(group) for group in service.groups}
    tasks = {task.name: task for group in service.groups for task in group.tasks}
    law = Law(
        service.name,
        Emitter(service.name, service.runtime_lane, settings.phase_id, provenance),
        provenance,
        await provenance_number(pool, provenance),
        decoders,
        tasks,
    )
    producer = make_producer(options)
    await producer.start()
    watch = TopicWatch(options)
    await watch.start()
    address = f"{settings.http_host}:{settings.http_port}"
    reached(Step.STARTED)
    contention = Contention()
    return Runtime(
        service=service,
        settings=settings,
        worker_id=worker_id,
        pool=pool,
        producer=producer,
        watch=watch,
        bus_options=options,
        consumers=Consumers(options, {len(topics) for group in service.groups if (topics := group_topics(group))}),
        law=law,
        decoders=decoders,
        scheduled={group.name: Scheduled(group, decoders[group.name]) for group in service.groups},
        ownership=Ownership(pool, worker_id, address, f"fp_{service.name}", settings.timeouts.lease),
        telemetry=Telemetry(settings, service.name, worker_id),
        task_slots=asyncio.Semaphore(settings.task_concurrency),
        together=Together(law, pool, settings.transaction_concurrency, settings.batch_max, contention),
        contention=contention,
    )


async def close_runtime(runtime: Runtime) -> None:
    """Close what `build_runtime` opened."""
    if runtime.service.cleanup is not None:
        await runtime.service.cleanup()
    await runtime.together.close()
    await runtime.producer.stop()
    await runtime.watch.stop()
    await close_pool(runtime.pool)
    runtime.telemetry.close()


async def serve(service: Service, settings: Settings) -> None:
    """One worker process: lanes and HTTP, until SIGTERM or SIGINT."""
    runtime = await build_runtime(service, settings)
    tune_garbage_collection()
    worker = Worker(runtime)
    door = CommandDoor(runtime)
    app = build_app(runtime, door, worker.progress, worker.not_ready)
    server = uvicorn.Server(
        uvicorn.Config(app, host=settings.http_host, port=settings.http_port, log_config=None, access_log=False, lifespan="off")
    )
    # uvicorn's own handlers would end the process before its lanes are drained.
    server.capture_signals = _no_signals  # type: ignore[method-assign]  # its only way to leave signals alone
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    http = asyncio.create_task(server.serve())
    try:
        await worker.run()
    finally:
        server.should_exit = True
        await http
        await close_runtime(runtime)


def main(build: Callable[[Settings], Service]) -> None:
    """Entry point of `python -m <service>`: settings, posture, one worker. Exit code 78 for settings that may not run."""
    try:
        settings = load_settings()
    except PostureError as error:
        sys.stderr.write(json.dumps({"event": "posture.refused", "reasons": error.reasons}) + "\n")
        sys.stderr.write(f"{error}\n")
        raise SystemExit(78) from None
    if settings.faults:
        install_faults(settings.faults)
    uvloop.run(serve(build(settings), settings))
