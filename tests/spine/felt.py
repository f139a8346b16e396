"""A machine that is as busy as a test says."""

from spine.contention import Contention


class Felt(Contention):
    """Feels what it is told."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._felt = share

    @property
    def share(self) -> float:
        """As it was told."""
        return self._felt
