"""One worker process: `python -m refund_watch`."""

from refund_watch.app import build
from spine.process import main

main(build)
