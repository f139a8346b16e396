"""The framework: lanes, four inlets and one law, one transaction. A service author reads `spine.service` and nothing else."""
