"""One worker process: `python -m refund_watch`."""

from refund_watch.app import build
from spine.worker import main

main(build)
