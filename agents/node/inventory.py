"""Which GPUs this machine has, under an index that stays when NVML's shifts.

A lease names GPUs by index. When one leaves the bus, NVML numbers the rest anew, so the
index is ours: given at first sight, kept by UUID, and kept in a file over restarts.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from agents.node.samples import Gpu


def settled(known: Sequence[Gpu], listed: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return every GPU of the machine, by index: those known, and those listed for the first time.

    A new GPU on the bus address of one that is gone is its replacement, and takes its index.
    """
    seen = {gpu.uuid: gpu for gpu in listed}
    old = {gpu.uuid for gpu in known}
    places = {gpu.bus_id: gpu for gpu in known if gpu.bus_id and gpu.uuid not in seen}
    after = {gpu.uuid: replace(seen.get(gpu.uuid, gpu), index=gpu.index) for gpu in known}
    for gpu in listed:
        if gpu.uuid not in old:
            replaced = places.pop(gpu.bus_id, None)
            if replaced is not None:
                del after[replaced.uuid]
            taken = {other.index for other in after.values()}
            wanted = gpu.index if replaced is None else replaced.index
            index = wanted if wanted not in taken else next(_free(taken))
            after[gpu.uuid] = replace(gpu, index=index)
    return tuple(sorted(after.values(), key=lambda gpu: gpu.index))


def _free(taken: set[int]) -> Iterator[int]:
    return (index for index in range(len(taken) + 1) if index not in taken)


def load(file: Path) -> tuple[Gpu, ...]:
    """Return the GPUs of a file that `save` wrote, or none where there is no such file.

    Raises:
        ValueError: the file holds something else, or may not be read.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise ValueError(f"inventory {file}: {error}; remove it to take stock anew") from error
    try:
        return tuple(Gpu(**row) for row in rows)
    except TypeError as error:
        raise ValueError(f"inventory {file}: {error}; remove it to take stock anew") from error


def save(file: Path, gpus: Sequence[Gpu]) -> None:
    """Keep the GPUs in a file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    spare = file.with_suffix(".new")
    spare.write_text(json.dumps([asdict(gpu) for gpu in gpus], indent=1), encoding="utf-8")
    spare.replace(file)
