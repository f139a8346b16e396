"""A worker process of the measured service."""

from benchmarks.posting.service import build
from spine.worker import main

main(build)
