"""One worker process of CaseTrigger."""

from case_trigger.app import build
from spine.process import main

main(build)
