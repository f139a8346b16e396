"""The law service that is measured: one state row and one output for each payment that is new, and everything of the spine around it."""
