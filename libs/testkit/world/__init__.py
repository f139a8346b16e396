"""A seeded world: everything that happens to the platform from outside, as a pure stream (domain.md 13).

World(config, run) yields steps; Manifest counts what was injected; FlowIds tells the truth about a flow; Outside and the
investigator turn that truth into disputes, chargebacks and labels.
"""
