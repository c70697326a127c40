"""What a driver's refusal means for who asked. Works on NVML's return codes alone.

Source: `nvmlReturn_t` of NVIDIA's public nvml.h.
"""

from collections.abc import Mapping

from agents.node.samples import Fault

NEVER = frozenset({3, 4, 13, 25, 26})
"""Not supported, no permission, no such function, wrong version word, deprecated."""
NOT_NOW = frozenset({6, 10, 21, 27})
"""Not found, timeout, no data, not ready: normal, and perhaps otherwise next time."""
NO_FUNCTION = 13
TOO_SMALL = 7
_FAULTS: Mapping[int, Fault] = {15: Fault.LOST, 28: Fault.LOST, 16: Fault.RESET_REQUIRED}
_AWAY = frozenset({1, 9, 12})
"""Uninitialised, driver not loaded, library not found."""
_REPLACED = 18


class DriverAway(Exception):  # noqa: N818  # a state, told by its name
    """No driver answers now: not installed, not loaded, or reloaded under this process."""


class DriverReplaced(Exception):  # noqa: N818  # a state, told by its name
    """The driver is of another version than the library in this process; start a new one."""


class GpuAway(Exception):  # noqa: N818  # a state, told by its name
    """One GPU answers nothing any more; the others do."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class Declined(Exception):  # noqa: N818  # a state, told by its name
    """One call was declined; the GPU and the driver are there."""

    def __init__(self, function: str, code: int, words: str) -> None:
        super().__init__(words)
        self.function, self.code = function, code


def sorted_out(function: str, code: int, words: str) -> Exception:
    """Return what to raise for a code that a function gave."""
    if code in _AWAY:
        return DriverAway(words)
    if code == _REPLACED:
        return DriverReplaced(words)
    if code in _FAULTS:
        return GpuAway(_FAULTS[code])
    return Declined(function, code, words)
