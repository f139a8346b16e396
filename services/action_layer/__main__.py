"""One worker process of the action layer."""

from action_layer.app import build
from spine.worker import main

main(build)
