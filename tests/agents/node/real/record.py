"""Record all that a real driver answers, and how long it takes, to hold our stand-in against it.

    python -m tests.agents.node.real.record FOLDER

It only reads. Each question is asked in two states: nothing runs, and bf16 products do.
"""

import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pynvml

from agents.node import nvml
from tests.agents.node.real.conftest import MATMUL, running

_TIMES = 40
_FIELDS, _GPM_METRICS = range(1, 300), range(1, 180)
_EVERY_SCOPE = 0xFFFFFFFF
_BY_HAND = {
    "nvmlDeviceGetClockInfo": [(0,), (1,), (2,), (3,)],
    "nvmlDeviceGetMaxClockInfo": [(1,), (2,)],
    "nvmlDeviceGetTemperature": [(0,)],
    "nvmlDeviceGetTemperatureThreshold": [(0,), (1,), (2,), (3,)],
    "nvmlDeviceGetMemoryInfo": [(), (nvml.MEMORY_V2,)],
    "nvmlDeviceGetTotalEccErrors": [(0, 0), (1, 0), (0, 1), (1, 1)],
    "nvmlDeviceGetPcieThroughput": [(0,), (1,)],
    "nvmlDeviceGetNvLinkState": [(0,), (17,), (18,)],
    "nvmlDeviceGetNvLinkVersion": [(0,)],
    "nvmlDeviceGetNvLinkRemoteDeviceType": [(0,)],
    "nvmlDeviceGetNvLinkErrorCounter": [(0, 0), (0, 1), (0, 2)],
    "nvmlDeviceGetViolationStatus": [(0,), (1,)],
    "nvmlDeviceGetMigDeviceHandleByIndex": [(0,)],
    "nvmlDeviceGetProcessUtilization": [(0,)],
    "nvmlDeviceGetRetiredPages": [(0,), (1,)],
    "nvmlDeviceGetFanSpeed_v2": [(0,)],
    "nvmlDeviceGetMemoryErrorCounter": [(0, 0, 2), (1, 0, 2), (1, 1, 7)],
}
_ASIDE = (
    ("nvidia-smi",), ("nvidia-smi", "-q"), ("nvidia-smi", "-q", "-x"), ("nvidia-smi", "topo", "-m"),
    ("nvidia-smi", "nvlink", "-s"), ("nvidia-smi", "--version"), ("nvidia-smi", "pmon", "-c", "2"),
    ("uname", "-a"), ("dmesg",), ("ls", "-la", "/proc/driver/nvidia", "/dev"), ("id",),
    ("cat", "/proc/driver/nvidia/version", "/proc/self/status"), ("lscpu",), ("free", "-m"),
    ("cat", "/proc/self/cgroup"), ("ps", "-ef"), ("ldconfig", "-p"),
)  # fmt: skip


def plain(value: object, depth: int = 3) -> object:
    """Return a value of ctypes as JSON can have it."""
    fields = getattr(value, "_fields_", None)
    if fields and depth:
        return {name: plain(getattr(value, name), depth - 1) for name, *_ in fields}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple):
        return [plain(one, depth - 1) for one in value[:64]] if depth else repr(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "__len__") and hasattr(value, "__getitem__") and depth:
        return [plain(value[n], depth - 1) for n in range(min(64, len(value)))]  # type: ignore[arg-type]
    return repr(value)


def asked(function: Callable[..., object], *arguments: object) -> dict[str, object]:
    """Ask many times; return what the driver said first, and how long it took, in us."""
    taken, said = [], {}
    for number in range(_TIMES):
        began = time.perf_counter_ns()
        try:
            value = function(*arguments)
        except pynvml.NVMLError as error:
            found: dict[str, object] = {"error": error.value, "words": str(error)}
        except Exception as error:  # noqa: BLE001  # a binding that is broken is news as well
            return {"broken": f"{type(error).__name__}: {error}"}
        else:
            found = {"value": value}
        taken.append((time.perf_counter_ns() - began) / 1000)
        said = said or found
        if sum(taken) > 400_000 and number > 2:
            break
    if "value" in said:
        said = {"value": plain(said["value"])}
    taken.sort()
    return {**said, "us": round(median(taken), 1), "us_most": round(taken[-1], 1), "n": len(taken)}


def questions(handle: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every question that a handle alone, or the table's numbers, can be asked."""
    for name in sorted(dir(pynvml)):
        if name.startswith("nvmlSystemGet") and not _needs(name, 0):
            yield name, asked(getattr(pynvml, name))
        elif name in _BY_HAND:
            for numbers in _BY_HAND[name]:
                key = f"{name}({', '.join(map(str, numbers))})"
                yield key, asked(getattr(pynvml, name), handle, *numbers)
        elif name.startswith("nvmlDeviceGet") and not _needs(name, 1):
            yield name, asked(getattr(pynvml, name), handle)
    for name in ("sram_exceeded", "fabric", "processes_v3", "processes_v2", "gpm_supported"):
        yield f"ours: {name}", asked(nvml._OURS[name], handle)  # noqa: SLF001  # to record them


def _needs(name: str, given: int) -> bool:
    """Return whether a function needs another number of arguments than `given`."""
    needed = [
        p
        for p in inspect.signature(getattr(pynvml, name)).parameters.values()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    return len(needed) != given


def field_values(handle: object) -> dict[str, object]:
    """Return every field that is not refused, for no scope and for the sum over links."""
    found = {}
    for scope in (0, 1, _EVERY_SCOPE):
        batch = nvml.batch([(number, scope) for number in _FIELDS])
        nvml.call("field_values", handle, batch.values)
        for value in batch.values:
            if value.nvmlReturn != pynvml.NVML_ERROR_NOT_SUPPORTED:
                found[f"{value.fieldId}/{scope}"] = {
                    "rc": value.nvmlReturn,
                    "type": value.valueType,
                    "bits": value.value.ullVal,
                    "latency_us": value.latencyUsec,
                }
    return found


def monitors(handle: object) -> dict[str, object]:
    """Return every GPM metric over half a second, and how short a time can be counted over."""
    samples = [pynvml.nvmlGpmSampleAlloc() for _ in range(2)]
    began = time.perf_counter_ns()
    pynvml.nvmlGpmSampleGet(handle, samples[0])
    found: dict[str, object] = {"sample_us": (time.perf_counter_ns() - began) / 1000}
    time.sleep(0.5)
    pynvml.nvmlGpmSampleGet(handle, samples[1])
    found |= {str(number): _metric(samples, number) for number in _GPM_METRICS}
    for pause in (0.0, 0.02, 0.05, 0.09, 0.11):
        pynvml.nvmlGpmSampleGet(handle, samples[0])
        time.sleep(pause)
        pynvml.nvmlGpmSampleGet(handle, samples[1])
        found[f"SM after {pause} s"] = _metric(samples, 2)
    for sample in samples:
        pynvml.nvmlGpmSampleFree(sample)
    return found


def _metric(samples: list[object], number: int) -> dict[str, object]:
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version, request.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, 1
    request.sample1, request.sample2 = samples
    metric = request.metrics[0]
    metric.metricId = number
    try:
        pynvml.nvmlGpmMetricsGet(request)
    except pynvml.NVMLError as error:
        return {"error": error.value}
    name = metric.metricInfo.shortName
    said = name.decode() if isinstance(name, bytes) else str(name)
    return {"rc": metric.nvmlReturn, "value": metric.value, "name": said}


def recorded() -> dict[str, object]:
    """Return all that the first GPU's driver answers now."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return {
        "calls": dict(questions(handle)),
        "fields": field_values(handle),
        "gpm": monitors(handle),
        "events": asked(pynvml.nvmlDeviceGetSupportedEventTypes, handle),
    }


def main(folder: Path) -> None:
    """Write everything down."""
    began = time.perf_counter()
    pynvml.nvmlInit()
    found: dict[str, object] = {"init_ms": 1000 * (time.perf_counter() - began)}
    try:
        found["idle"] = recorded()
        with running(MATMUL):
            time.sleep(3)
            found["busy"] = recorded()
    finally:
        (folder / "nvml.json").write_text(json.dumps(found, indent=1))
        aside = {}
        for command in _ASIDE:
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=60, check=False
                )
                aside[" ".join(command)] = done.stdout + done.stderr
            except (OSError, subprocess.TimeoutExpired) as error:
                aside[" ".join(command)] = str(error)
        (folder / "aside.json").write_text(json.dumps(aside, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
