"""What was decided, recomputed by somebody else: certificates from topics and tables, ranges on a shadow."""
