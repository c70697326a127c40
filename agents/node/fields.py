"""Batches of driver values, decoded from the bytes that the driver filled in.

pynvml makes an object for each value; decoding a whole batch at once takes a sixth of the
time, which is most of what an agent costs.
Source: `nvmlFieldValue_t` and `nvmlGpmMetric_t` of NVIDIA's public nvml.h (40 bytes each).
"""

import struct
from collections.abc import Sequence

EVERY_LINK = 0xFFFFFFFF
"""The scope that asks for the sum over all NVLinks, where a field has one."""

READINGS = (
    (82, 0),  # memory temperature, Celsius
    (138, EVERY_LINK),  # NVLink data sent, KiB
    (139, EVERY_LINK),  # NVLink data received, KiB
    (142, 0),  # rows remapped after correctable errors
    (143, 0),  # rows remapped after uncorrectable errors
    (144, 0),  # a remap is pending
    (145, 0),  # a remap failed
    (230, 0),  # recovery action
)
"""In the order of the last attributes of `Readings`."""

SELDOM = (
    (83, 0),  # energy since the driver was loaded, mJ
    (94, 0),  # PCIe replays
    (91, 0),  # NVLinks
)
"""What takes a driver milliseconds, and is a counter that nobody needs each second."""
LINK_ERRORS = (161, 162, 163)
"""Replays, recoveries and CRC errors, each for the link that is its scope."""

GPM = (1, 2, 3, 5, 10, 11, 12, 13, 20, 21, 60, 61)
"""In the order of the attributes of `Gpm`."""
GPM_OF_LINKS = 2
"""The last of them, which are about NVLinks."""
_GPM_RATIOS = 8
_MIB = 1024 * 1024

_ENTRY = "4x4x8x8xIiQ"
_GPM_ENTRY = "4xid24x"
_GPM_FIRST, _GPM_SAMPLES = 8, struct.Struct("<QQ")
_GPM_HEADER = 24
_DOUBLE, _UNSIGNED, _SIGNED = 0, 1, 5
_LOW = 0xFFFFFFFF


class FieldDecoder:
    """Reads arrays of `nvmlFieldValue_t` of one length."""

    def __init__(self, count: int) -> None:
        self._layout = struct.Struct("<" + _ENTRY * count)
        self.count = count

    def decode(self, raw: object) -> list[int | None]:
        """Return each value, None for those that failed: the call itself succeeds regardless."""
        flat = iter(self._layout.unpack_from(raw))  # type: ignore[arg-type]  # a ctypes array is a buffer
        return [
            None if failed else bits & _LOW if kind == _UNSIGNED else _whole(kind, bits)
            for kind, failed, bits in zip(flat, flat, flat, strict=True)
        ]


def _whole(kind: int, bits: int) -> int:
    """Read the union by its type: of the smaller ones only the low bytes are written."""
    if kind == _DOUBLE:
        return int(struct.unpack("<d", struct.pack("<Q", bits))[0])
    if kind == _SIGNED:
        return int(struct.unpack("<i", struct.pack("<I", bits & _LOW))[0])
    return bits


_GPM_LAYOUT = struct.Struct("<" + _GPM_ENTRY * len(GPM))
_GPM_SCALES = tuple(0.01 if place < _GPM_RATIOS else _MIB for place in range(len(GPM)))


def compare_gpm(buffer: object, earlier: int, later: int) -> None:
    """Ask for the difference of two samples, by address: a tenth of what ctypes' pointers take."""
    _GPM_SAMPLES.pack_into(buffer, _GPM_FIRST, earlier, later)  # type: ignore[arg-type]  # as below


def gpm_values(buffer: object) -> list[float | None]:
    """Return ratios and bytes per second from an `nvmlGpmMetricsGet_t` that asked for `GPM`."""
    flat = iter(_GPM_LAYOUT.unpack_from(buffer, _GPM_HEADER))  # type: ignore[arg-type]  # a ctypes structure is a buffer
    return [
        None if failed else value * scale
        for failed, value, scale in zip(flat, flat, _GPM_SCALES, strict=True)
    ]


def total(values: Sequence[int | None]) -> int | None:
    """Return the sum of those that are known, None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
