"""One worker process of the decision log and audit."""

from decision_log_audit.app import build
from spine.process import main

main(build)
