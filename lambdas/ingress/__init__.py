"""The ingress edge (IG): the one door by which facts from outside enter, each judged once (domain.md 2)."""
