"""A worker process of the measured service."""

from benchmarks.posting.service import build
from spine.process import main

main(build)
