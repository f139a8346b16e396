"""A worker process of the test service."""

from ledger.service import build
from spine.process import main

main(build)
