"""One worker process of the decision fabric."""

from spine.worker import main

from decision_fabric.app import build

main(build)
