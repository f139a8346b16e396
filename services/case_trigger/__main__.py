"""One worker process of CaseTrigger."""

from case_trigger.app import build
from spine.worker import main

main(build)
