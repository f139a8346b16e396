"""One worker process of case management."""

from case_management.app import build
from spine.process import main

main(build)
