"""One worker process of case management."""

from case_management.app import build
from spine.worker import main

main(build)
