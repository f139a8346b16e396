"""`python -m testkit.model [--wrong NAME]`: explore every configuration, or find what a wrong variant breaks. Exit code 1: unexpected."""

import argparse
import sys

from testkit.model.configurations import CONFIGURATIONS
from testkit.model.explore import explore
from testkit.model.report import counter_example, line
from testkit.model.variants import CATCHES
from testkit.wrong import Wrong


def main() -> int:
    """What is printed is all that is claimed."""
    parser = argparse.ArgumentParser(prog="python -m testkit.model", description=__doc__)
    parser.add_argument("--wrong", choices=[*Wrong], help="the rule to leave out")
    chosen = parser.parse_args().wrong
    out = sys.stdout
    if chosen is not None:
        catch = CATCHES[Wrong(chosen)]
        explored = explore(catch.configuration, Wrong(chosen), catch.invariant)
        out.write(f"{line(catch.configuration, explored)}\n{counter_example(explored)}\n")
        return 0 if explored.counter_example is not None else 1
    kept = True
    for configuration in CONFIGURATIONS:
        explored = explore(configuration)
        kept = kept and explored.counter_example is None
        out.write(f"{line(configuration, explored)}\n{counter_example(explored)}")
        out.flush()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
