"""A service that shows how one is written; see docs/add_a_service.md."""
