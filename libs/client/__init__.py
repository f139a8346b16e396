"""fp-client: what a producer sends events with. See `client.sender.Client` for what it promises."""

from client.answers import Answer
from client.events import Events
from client.sender import Client, Counts
from client.spool import SpoolError

__all__ = ["Answer", "Client", "Counts", "Events", "SpoolError"]
