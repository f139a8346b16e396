"""One worker process of the decision log and audit."""

from spine.worker import main

from decision_log_audit.app import build

main(build)
