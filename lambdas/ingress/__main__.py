"""`python -m ingress --port N`: the edge behind a local HTTP adapter."""

import argparse
import sys
from pathlib import Path

import uvloop
from msgspec.structs import replace

from ingress.folder_store import FolderStore
from ingress.http_adapter import Adapter
from ingress.local import InProcess, Sandboxed, Served
from ingress.logs import configure_logs
from ingress.settings import EdgeSettings, SettingsError, Table, load_settings
from ingress.tables import ensure_tables
from spine.garbage import tune_garbage_collection
from spine.rungs import PostureError, Rung

ARCHIVE = "archive"
"""The bucket of a folder."""


async def _serve(settings: EdgeSettings, arguments: argparse.Namespace) -> None:
    if arguments.ensure_tables:
        if settings.env is not Rung.LOCAL_PARITY:
            raise SystemExit(f"--ensure-tables: FP_ENV={settings.env}; only local_parity makes its own tables, Terraform makes the others")
        await ensure_tables(settings.dynamodb_url, settings.region, settings.idempotency_table, settings.quarantine_table)
    mark = None
    if arguments.archive is not None:
        if settings.env is not Rung.LOCAL_PARITY:
            raise SystemExit(f"--archive: FP_ENV={settings.env}; only local_parity keeps its objects in a folder, the others have S3")
        folder = FolderStore(arguments.archive)
        await folder.start()
        mark = arguments.archive / "archived_until"
        settings = replace(settings, s3_endpoint=folder.url, archive_bucket=settings.archive_bucket or ARCHIVE)
    tune_garbage_collection()
    served: Served = InProcess(settings, arguments.reconcile_every, mark)
    if arguments.sandboxes:
        served = Sandboxed(settings, arguments.sandboxes, arguments.reconcile_every, mark)
    await Adapter(served, settings, arguments.host, arguments.port).serve()


def main() -> None:
    """Exit status 2 where the settings forbid to start, with every reason."""
    parser = argparse.ArgumentParser(prog="python -m ingress", description="The ingress edge behind a local HTTP adapter.")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one; the line on stdout says which")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--sandboxes", type=int, default=0, help="run the handler under Lambda's runtime client in so many; 0: in this process"
    )
    parser.add_argument(
        "--reconcile-every", type=float, default=60.0, help="seconds between two rounds of the reconciler and of the archive"
    )
    parser.add_argument(
        "--archive", type=Path, help="keep receipts and quarantine records in this folder, as in a bucket (local_parity only)"
    )
    parser.add_argument("--ensure-tables", action="store_true", help="make the two tables if they are missing (local_parity only)")
    arguments = parser.parse_args()
    configure_logs()
    try:
        settings = load_settings()
    except (PostureError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    if arguments.sandboxes and settings.table is Table.MEMORY:
        sys.stderr.write("FP_IG_TABLE=memory: rows in the memory of several sandboxes are several truths; use --sandboxes 0\n")
        raise SystemExit(2)
    if settings.quarantine_file and (arguments.sandboxes or arguments.archive):
        sys.stderr.write("FP_IG_QUARANTINE_FILE: one process writes it, and no archive reads it; use --sandboxes 0 without --archive\n")
        raise SystemExit(2)
    uvloop.run(_serve(settings, arguments))


if __name__ == "__main__":
    main()
