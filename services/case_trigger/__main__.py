"""One worker process of CaseTrigger."""

from spine.worker import main

from case_trigger.app import build

main(build)
