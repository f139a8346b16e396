"""Typed payload contracts of the platform's event types. Unknown fields are refused; no payload holds the time at which we ran."""
