"""The laws of the platform as pure values and rules: no I/O, no clock, no randomness (architecture.md, Layout)."""
