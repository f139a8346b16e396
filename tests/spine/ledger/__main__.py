"""A worker process of the test service."""

from ledger.service import build
from spine.worker import main

main(build)
