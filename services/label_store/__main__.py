"""One worker process of the label store."""

from label_store.app import build
from spine.worker import main

main(build)
