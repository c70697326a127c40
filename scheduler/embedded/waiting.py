"""Waiting for the world: poll a condition until it holds or the time is over."""

from collections.abc import Callable
from threading import Event

from scheduler.clock import Clock, SystemClock


def pause(seconds: float) -> None:
    """Do nothing for a while; Ctrl-C interrupts it."""
    Event().wait(seconds)


def until(
    holds: Callable[[], bool], seconds: float, every: float = 0.1, clock: Clock | None = None
) -> bool:
    """Return True as soon as `holds()` does, False when `seconds` have passed without."""
    clock = clock or SystemClock()
    end = clock.monotonic() + seconds
    while not holds():
        if clock.monotonic() >= end:
            return False
        pause(every)
    return True
