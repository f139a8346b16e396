"""Logs as one JSON object a line on stderr. Payloads and keys never get here; callers log ids, codes and field names.

Ours rather than structlog's, whose import is half of a cold start.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(enc_hook=str)


class Log:
    """Writes events with their fields."""

    def __init__(self) -> None:
        self.muted = False
        """Nothing is written while it is set: a campaign of faults would log nothing else."""

    def info(self, event: str, **fields: Any) -> None:
        """What happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What passes by itself."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What somebody should look at."""
        self._write("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """A defect, with the stack of the exception that is being handled."""
        self._write("error", event, {**fields, "exception": traceback.format_exc()})

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if not self.muted:
            line = {"event": event, "level": level, "timestamp": datetime.now(UTC).isoformat(), **fields}
            sys.stderr.write(_ENCODER.encode(line).decode() + "\n")


log = Log()


def configure_logs() -> None:
    """Sends what libraries log (warnings and worse) to the same place."""
    logging.basicConfig(handlers=[_ToLog()], level=logging.WARNING, force=True)


class _ToLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.warning("library", logger=record.name, level_name=record.levelname, message=record.getMessage())
