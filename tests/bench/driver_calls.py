"""The C calls of one look at GPUs, made bare: what a look costs without any Python of ours."""

import ctypes
from collections.abc import Callable, Sequence

import pynvml

from agents.node import fields, nvml
from agents.node.session import Session


def driver_calls(session: Session, uuids: Sequence[str]) -> Callable[[], None]:
    """Return what makes the C calls of one look at all GPUs, and nothing else."""
    calls: list[tuple[Callable[..., int], tuple[object, ...]]] = []
    library = pynvml.nvmlLib
    real = pynvml._nvmlGetFunctionPointer  # noqa: SLF001  # to see every call that is made

    def seen(name: str) -> Callable[..., int]:
        function = real(name)

        def noted(*arguments: object) -> int:
            calls.append((function, arguments))
            return int(function(*arguments))

        return noted

    pynvml._nvmlGetFunctionPointer = seen  # noqa: SLF001
    try:
        for uuid in uuids:
            session.sample(uuid, condition=False)
    finally:
        pynvml._nvmlGetFunctionPointer = real  # noqa: SLF001
    batch = nvml.batch(fields.READINGS)
    handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
    fill = library.nvmlDeviceGetFieldValues
    count = ctypes.c_int(len(fields.READINGS))

    def make() -> None:
        for function, arguments in calls:
            function(*arguments)
        for handle in handles:
            fill(handle, count, batch.values)

    return make
