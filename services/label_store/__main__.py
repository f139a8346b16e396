"""One worker process of the label store."""

from label_store.app import build
from spine.process import main

main(build)
