"""The run: the whole platform on real engines, a world through it, a kill half way, and a verdict from sets of ids."""
