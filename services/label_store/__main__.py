"""One worker process of the label store."""

from spine.worker import main

from label_store.app import build

main(build)
