"""One worker process of the action layer."""

from action_layer.app import build
from spine.process import main

main(build)
