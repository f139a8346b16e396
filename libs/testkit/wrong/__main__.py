"""`python -m testkit.wrong <variant> <module> ..`: run `python -m <module> ..` with a rule left out, as a negative control."""

import runpy
import sys

from testkit.wrong import Wrong
from testkit.wrong.plants import plant


def main() -> None:
    """Exit code 64 for a variant that can't be planted, or no module."""
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] not in Wrong.__members__:
        sys.stderr.write(f"usage: python -m testkit.wrong <{'|'.join(sorted(Wrong))}> <module> ..\n")
        raise SystemExit(64)
    plant(Wrong(arguments[0]))
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
