"""What `python -m testkit.model` prints."""

from testkit.model.configurations import Configuration
from testkit.model.explore import Explored


def line(configuration: Configuration, explored: Explored) -> str:
    """One configuration: what was looked at, within which bounds."""
    verdict = "kept" if explored.counter_example is None else f"broken: {explored.counter_example.violation.invariant}"
    return (
        f"{configuration.name}: {explored.states} states, {explored.transitions} transitions, deepest path {explored.depth}, "
        f"{explored.rests} ends, {explored.seconds:.1f} s: {verdict}\n    {configuration.bounds}"
    )


def counter_example(explored: Explored) -> str:
    """The shortest script to what does not hold, and what was found."""
    found = explored.counter_example
    if found is None:
        return ""
    return f"{found.script.text()}\n# {found.violation.invariant}: {found.violation.found}"
