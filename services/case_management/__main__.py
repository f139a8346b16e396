"""One worker process of case management."""

from spine.worker import main

from case_management.app import build

main(build)
