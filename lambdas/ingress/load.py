"""How much an edge has in hand. Beyond the bound it turns work away before anything of it is written, and takes it again by itself."""

from ingress.logs import log


class Load:
    """Counts events that were taken in and have no answer yet: those that wait for the store or the bus, and those behind them."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self.in_hand = 0
        self.shed = 0
        """Events that were turned away since the process began."""
        self._shedding_since: int | None = None

    def enter(self, events: int) -> bool:
        """Takes events in; False, and nothing is taken, where they would be more than the bound. Call `leave` once they have answers."""
        if self.in_hand + events > self._bound:
            if self._shedding_since is None:
                self._shedding_since = self.shed
                log.warning("shedding", in_hand=self.in_hand, bound=self._bound)
            self.shed += events
            return False
        self.in_hand += events
        return True

    def leave(self, events: int) -> None:
        """They have their answers."""
        self.in_hand -= events
        # Half the bound, so that an edge at its limit does not tell every other request that it is over.
        if self._shedding_since is not None and self.in_hand <= self._bound // 2:
            log.warning("shedding_ended", events=self.shed - self._shedding_since)
            self._shedding_since = None
