"""The one error type that callers of the engines see."""

from __future__ import annotations


class EngineError(RuntimeError):
    """An engine could not be prepared, started, reached or stopped; the text says what, with which value, and what to do."""
