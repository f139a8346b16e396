"""The outside payment provider that the action layer talks to (domain.md 6).

One effect per idempotency key, ever, with faults that can be repeated.
"""
