"""How often nodes should report: as the hub's settings say, and less where it does not keep up."""

_WINDOW_SECONDS = 10.0
_MOST = 4.0


class Pace:
    """Looks at how much time reports take, and asks for fewer above `share` of all time."""

    def __init__(self, share: float = 0.5) -> None:
        self._share = share
        self._began: float | None = None
        self._busy = 0.0
        self.factor = 1.0

    def took(self, seconds: float, now: float) -> None:
        """Count the time that one message took; `now` is of any clock that runs on."""
        if self._began is None:
            self._began = now
        self._busy += seconds
        passed = now - self._began
        if passed >= _WINDOW_SECONDS:
            # Half of the way each time, so that one slow moment does not make nodes swing.
            wanted = min(_MOST, max(1.0, self.factor * self._busy / passed / self._share))
            self.factor = (self.factor + wanted) / 2
            if self.factor < 1.01:  # noqa: PLR2004  # near enough to 1 to be told as 1
                self.factor = 1.0
            self._began, self._busy = now, 0.0

    def seconds(self, base: float) -> float:
        """Return what to ask for where `base` is the setting."""
        return round(base * self.factor, 1)
