"""The only place that imports NVIDIA's library: functions called by name, refusals sorted.

Functions that need structures are wrapped here, so that no other file knows of them.
Sources: NVIDIA's NVML API reference and public nvml.h.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml

from agents.node import fields, refusals
from agents.node.refusals import Declined, GpuAway, sorted_out
from agents.node.samples import Fabric, Process, Xid

CLOCK_SM, CLOCK_MEMORY = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
CORE_TEMPERATURE = pynvml.NVML_TEMPERATURE_GPU
MEMORY_V2: int = pynvml.nvmlMemory_v2
_XID_EVENT = pynvml.nvmlEventTypeXidCriticalError
_HIDDEN = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value
"""What the driver writes for the memory of a process that it may not tell."""
WHOLE_GPU = 0xFFFFFFFF
"""The number of no GPU instance: the whole GPU is meant."""


def call(name: str, *arguments: object) -> Any:  # noqa: ANN401  # as the library gives it
    """Call a function of NVML, or one of ours over it, by its name.

    Raises:
        DriverAway, DriverReplaced, GpuAway, Declined: what the refusal means.
    """
    try:
        return (_found.get(name) or _function(name))(*arguments)
    except pynvml.NVMLError as error:
        raise sorted_out(name, error.value, str(error)) from error
    except pynvml.NVMLLibraryMismatchError as error:  # No NVMLError, and means a missing symbol.
        raise Declined(name, refusals.NO_FUNCTION, str(error)) from error


def _function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = _OURS.get(name) or getattr(pynvml, name)
    _found[name] = found
    return found


_found: dict[str, Callable[..., Any]] = {}


def function(name: str) -> Callable[..., int]:
    """Return a function of the driver's library as it is: it returns a code, see `refusal`.

    Where the driver has no such function, the code says so.
    """
    try:
        found: Callable[..., int] = pynvml._nvmlGetFunctionPointer(name)  # noqa: SLF001  # its only door to them
    except pynvml.NVMLError as error:
        code: int = error.value
        return lambda *_: code
    return found


def refusal(name: str, code: int) -> Exception:
    """Return what to raise for a code that a function gave."""
    return sorted_out(name, code, str(pynvml.NVMLError(code)))


@dataclass(frozen=True, slots=True)
class Batch:
    """An array of field values to ask for, made once and filled again each time."""

    values: Any
    decoder: fields.FieldDecoder


def batch(wanted: Sequence[tuple[int, int]]) -> Batch:
    """Return a request for these (field, scope)."""
    values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
    for value, (number, scope) in zip(values, wanted, strict=True):
        value.fieldId, value.scopeId = number, scope
    return Batch(values, fields.FieldDecoder(len(wanted)))


def gpm_request() -> Any:  # noqa: ANN401  # a structure of an untyped library
    """Return a request for `fields.GPM`, to be given its two samples."""
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version, request.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, len(fields.GPM)
    for place, metric in enumerate(fields.GPM):
        request.metrics[place].metricId = metric
    return request


class Events:
    """The XIDs that the driver announces; for one thread of its own."""

    def __init__(self, handles: Mapping[str, Any]) -> None:
        self._uuids: dict[int | None, str] = {}
        self._set = call("nvmlEventSetCreate")
        self._event = pynvml.c_nvmlEventData_t()
        self._wait = function("nvmlEventSetWait_v2")
        for uuid, handle in handles.items():
            try:
                call("nvmlDeviceRegisterEvents", handle, _XID_EVENT, self._set)
            except (Declined, GpuAway):
                continue
            self._uuids[_address(handle)] = uuid

    def wait(self, milliseconds: int) -> Xid | None:
        """Return the next XID, or None after so long without one.

        Raises:
            DriverAway, DriverReplaced: no more will come of this wait.
            GpuAway, Declined: it ended at once, and a next one may too.
        """
        event = self._event
        code = self._wait(self._set, ctypes.byref(event), milliseconds)
        if code in refusals.NOT_NOW:
            return None
        if code:
            raise refusal("nvmlEventSetWait_v2", code)
        uuid = self._uuids.get(_address(event.device))
        return None if uuid is None else Xid(uuid, int(event.eventData))

    def close(self) -> None:
        """Let go of the wait.

        Raises:
            DriverAway, DriverReplaced, Declined: there is nothing left to let go of.
        """
        call("nvmlEventSetFree", self._set)


def _address(handle: object) -> int | None:
    """Return what tells GPUs apart: two handles of one GPU do not compare equal."""
    address: int | None = ctypes.cast(handle, ctypes.c_void_p).value  # type: ignore[arg-type]  # a ctypes pointer
    return address


def _field_values(handle: object, values: Any) -> bool:  # noqa: ANN401  # a ctypes array
    """Fill an array that is used again; pynvml's own call makes a new one each time."""
    if pynvml.nvmlLib is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
    fill = getattr(pynvml.nvmlLib, "nvmlDeviceGetFieldValues", None)
    if fill is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    if code := fill(handle, ctypes.c_int(len(values)), values):
        raise pynvml.NVMLError(code)
    return True


def _processes(function: str) -> Callable[[object], tuple[Process, ...]]:
    def running(handle: object) -> tuple[Process, ...]:
        return tuple(
            Process(
                int(found.pid),
                None if found.usedGpuMemory in {None, _HIDDEN} else int(found.usedGpuMemory),
                None if found.gpuInstanceId in {None, WHOLE_GPU} else int(found.gpuInstanceId),
            )
            for found in getattr(pynvml, function)(handle)
        )

    return running


def _process_sm(handle: object, seen: list[int]) -> Mapping[int, float] | None:
    """Return by pid how busy processes were since the last call, 0 to 1; who is left out was not.

    `seen` keeps up to when; at the first call nothing is told, for what was before is not asked.
    """
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, seen[0])
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_NOT_FOUND:
            raise
        return {}
    first, seen[0] = not seen[0], max([seen[0], *(int(one.timeStamp) for one in samples)])
    found: dict[int, float] = {}
    for one in samples:
        found[int(one.pid)] = max(found.get(int(one.pid), 0.0), min(1.0, one.smUtil / 100))
    return None if first else found


def _gpm_supported(handle: object) -> bool:
    return bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)


def _links_up(handle: object, count: int) -> int | None:
    """Return how many of the first `count` NVLinks are up; None where not one is told of."""
    ask, state, told, up = function("nvmlDeviceGetNvLinkState"), ctypes.c_uint(), 0, 0
    for link in range(count):
        code = ask(handle, link, ctypes.byref(state))
        if code == 0:
            told, up = told + 1, up + bool(state.value)
        elif not isinstance(why := refusal("nvmlDeviceGetNvLinkState", code), Declined):
            raise why
    return up if told else None


def _sram_exceeded(handle: object) -> bool:
    status = pynvml.c_nvmlEccSramErrorStatus_v1_t()
    pynvml.nvmlDeviceGetSramEccErrorStatus(handle, ctypes.byref(status))
    return bool(status.bThresholdExceeded)


def _fabric(handle: object) -> Fabric | None:
    """Ask with a structure that is all zeros: of `state` the driver writes one byte of four.

    A GPU without a fabric is told as one whose state is 0.
    """
    info = pynvml.c_nvmlGpuFabricInfo_v3_t()
    try:
        pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
            raise
        info = pynvml.c_nvmlGpuFabricInfo_v2_t()
        pynvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    cluster, state = bytes(info.clusterUuid).hex(), info.state & 0xFF
    known = Fabric(cluster, info.cliqueId, state, info.status, info.healthMask)
    return known if state else None


_OURS: Mapping[str, Callable[..., Any]] = {
    "field_values": _field_values,
    "process_sm": _process_sm,
    "gpm_supported": _gpm_supported,
    "links_up": _links_up,
    "sram_exceeded": _sram_exceeded,
    "fabric": _fabric,
    "processes_v3": _processes("nvmlDeviceGetComputeRunningProcesses_v3"),
    "processes_v2": _processes("nvmlDeviceGetComputeRunningProcesses_v2"),
}
