"""Measurements of the whole spine: where each microsecond of CPU goes, what rate holds, what growth and hand-over cost."""
