"""A small service that uses every door, for the spine's own tests."""
