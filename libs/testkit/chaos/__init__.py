"""Chaos: real workers on real engines under one seed's schedule of faults, and an audit of what is left."""
