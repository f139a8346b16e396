"""One worker process of the decision fabric."""

from decision_fabric.app import build
from spine.process import main

main(build)
