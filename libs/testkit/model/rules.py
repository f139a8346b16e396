"""What every transition is told: the bounds of a configuration and the rule that is left out, if any."""

from collections.abc import Iterator
from typing import NamedTuple

from testkit.model.moves import Move
from testkit.model.state import State
from testkit.wrong import Wrong


class Rules(NamedTuple):
    """Records of one fetch, and the variant."""

    batch: int = 2
    wrong: Wrong | None = None


Successors = Iterator[tuple[Move, State]]
