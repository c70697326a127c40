"""When Python looks for unreachable cycles: seldom, and not among what is there to stay.

A planning cycle makes tens of thousands of small values and no cycles of references; with
Python's own thresholds, looking for some took a tenth of it (measured).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = (20_000, 20, 20)


def look_seldom() -> None:
    """Let this process look after many new values only; to be called once, at its start."""
    gc.set_threshold(*_SELDOM)


def keep_what_is_there() -> None:
    """Look at all there is once more, and then never again at what is left of it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Look for no cycles meanwhile: planning makes none, and a large plan is all new values.

    They are looked at once afterwards, as far as they are still there, and not twice during it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
