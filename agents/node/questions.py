"""What every GPU is asked each second: calls whose arguments and places for answers are made once.

pynvml makes both anew for each call, and an object for each answer, which took most of the time
of a look. Here the driver writes into one buffer of a GPU, which is read in one go.
Source: NVIDIA's public nvml.h, for the layouts.
"""

import ctypes
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.node.fields import FieldDecoder
from agents.node.samples import Process, Readings

Key = str | tuple[str, int]
Find = Callable[[str], Callable[..., int]]
"""Returns a function of the driver's library by its name."""

EVENT_REASONS = "nvmlDeviceGetCurrentClocksEventReasons"
FIELD_VALUES = "field_values"
PROCESSES = "processes_v3"
NO_INSTANCE = 0xFFFFFFFF
_HIDDEN = 0xFFFFFFFFFFFFFFFF
"""What the driver writes for the memory of a process that it may not tell."""
_RESIZED_V3 = re.compile(r"535\.(4[3-9]|[5-8]\d|9[0-7])\b")
"""Drivers that changed the structure of a process without saying so. Source: nvitop #88."""
_SM, _MEMORY, _CORE = 1, 2, 0
_ROOM = 32
_PROCESS = struct.Struct("<I4xQII")


@dataclass(frozen=True, slots=True)
class Question:
    """A call with its arguments. By its `key` a refusal is remembered.

    `places` are those of its answers in a GPU's buffer; `fills` is the address of a sample of the
    monitors that it fills.
    """

    name: str
    key: Key
    call: Callable[..., int]
    arguments: tuple[object, ...]
    places: range = range(0)
    fills: int = 0


class _Answers(ctypes.Structure):
    """Where the driver writes; the first of `Readings` are in this order but for two."""

    _fields_ = (
        ("utilisation", ctypes.c_uint * 2),
        ("memory_version", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong * 4),  # total, reserved, free, used
        ("sm_clock", ctypes.c_uint),
        ("memory_clock", ctypes.c_uint),
        ("power", ctypes.c_uint),
        ("temperature", ctypes.c_uint),
        ("event_reasons", ctypes.c_ulonglong),
    )


_LAYOUT = struct.Struct("<2I8x4Q4IQ")
_NUMBERS = 11


class Steady:
    """One GPU's questions of each second, and what it answered last."""

    def __init__(self, find: Find, handle: object, memory_version: int) -> None:
        """Prepare the questions of a GPU, by functions that `find` knows."""
        self._answers = answers = _Answers(memory_version=memory_version)

        def asked(name: str, place: str, places: range, *numbers: int) -> Question:
            at = ctypes.byref(answers, getattr(_Answers, place).offset)
            return _question(find, name, (handle, *numbers, at), places)

        self.questions = (
            asked("nvmlDeviceGetUtilizationRates", "utilisation", range(2)),
            asked("nvmlDeviceGetMemoryInfo_v2", "memory_version", range(2, 6)),
            asked("nvmlDeviceGetClockInfo", "sm_clock", range(6, 7), _SM),
            asked("nvmlDeviceGetClockInfo", "memory_clock", range(7, 8), _MEMORY),
            asked("nvmlDeviceGetPowerUsage", "power", range(8, 9)),
            asked("nvmlDeviceGetTemperature", "temperature", range(9, 10), _CORE),
            asked(EVENT_REASONS, "event_reasons", range(10, 11)),
        )

    def readings(self, absent: Sequence[range], values: Sequence[int | None]) -> Readings:
        """Return what was answered, and the batch's `values`; without what is `absent`."""
        found: Sequence[int | None] = _LAYOUT.unpack_from(self._answers)
        if absent:
            away = {place for places in absent for place in places}
            found = [None if n in away else found[n] for n in range(_NUMBERS)]
        busy, of_memory, total, reserved, free, used, *rest = found
        return Readings(busy, of_memory, total, reserved, used, free, *rest, *values)


def _question(
    find: Find, name: str, arguments: tuple[object, ...], places: range = range(0)
) -> Question:
    number = arguments[1] if len(arguments) > 1 else None
    key: Key = (name, number) if type(number) is int else name
    return Question(name, key, find(name), arguments, places)


def processes_by(driver: str) -> tuple[str, ...]:
    """Return by which functions to ask a driver for processes, the best one first."""
    return ("processes_v2",) if _RESIZED_V3.match(driver) else (PROCESSES, "processes_v2")


class Listing:
    """The processes on one GPU. Where they are as before, so are the values that tell of them."""

    def __init__(self, find: Find, handle: object) -> None:
        """Prepare the question, for as many processes as a GPU usually has."""
        self._count = ctypes.c_uint()
        self._room = (ctypes.c_char * (_PROCESS.size * _ROOM))()
        name = "nvmlDeviceGetComputeRunningProcesses_v3"
        arguments = (handle, ctypes.byref(self._count), self._room)
        self.question = Question(name, PROCESSES, find(name), arguments)
        self._raw, self._known = b"", tuple[Process, ...]()

    def clear(self) -> None:
        """Make room: the driver is told how much there is in the place of how many there are."""
        self._count.value = _ROOM

    def processes(self) -> tuple[Process, ...]:
        """Return what was answered."""
        raw = ctypes.string_at(self._room, self._count.value * _PROCESS.size)
        if raw != self._raw:
            self._raw = raw
            self._known = tuple(
                Process(
                    pid,
                    None if memory == _HIDDEN else memory,
                    None if instance == NO_INSTANCE else instance,
                )
                for pid, memory, instance, _ in _PROCESS.iter_unpack(raw)
            )
        return self._known


class Pair:
    """Two GPM samples, filled in turn: a metric is the difference between them."""

    LEAST_SECONDS = 0.1
    """Monitors that are read sooner again say 0, which is a lie: an H100 did below 50 ms."""

    def __init__(self, one: Question, two: Question) -> None:
        """Begin with the questions that fill them; a sample is the last argument of its."""
        self.earlier, self.later, self.filled, self.at = one, two, False, float("-inf")


def batch_question(find: Find, handle: object, values: object, decoder: FieldDecoder) -> Question:
    """Return the question for a batch of field values."""
    count = ctypes.c_int(decoder.count)
    name = "nvmlDeviceGetFieldValues"
    return Question(name, FIELD_VALUES, find(name), (handle, count, values))


def gpm_question(find: Find, handle: object, instance: int, sample: object) -> Question:
    """Return the question that fills a sample of the monitors, of a GPU or of a slice of it."""
    whole = instance == NO_INSTANCE
    name = "nvmlGpmSampleGet" if whole else "nvmlGpmMigSampleGet"
    arguments = (handle, sample) if whole else (handle, instance, sample)
    fills = ctypes.cast(sample, ctypes.c_void_p).value or 0  # type: ignore[arg-type]  # a ctypes pointer
    return Question(name, ("sample_gpm", instance), find(name), arguments, fills=fills)


def metrics_question(find: Find, request: ctypes.Structure) -> Question:
    """Return the question for the difference of two samples of the monitors."""
    name = "nvmlGpmMetricsGet"
    return Question(name, name, find(name), (ctypes.byref(request),))
