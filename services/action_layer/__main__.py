"""One worker process of the action layer."""

from spine.worker import main

from action_layer.app import build

main(build)
