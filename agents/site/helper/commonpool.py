# ruff: noqa: INP001  # one module on the path of every run, not a package
"""What a program may ask while Commonpool runs it; it is on the path of every run.

    import commonpool

    group = commonpool.placement_group()      # exactly the leased nodes and GPUs
    while training:
        ...
        if commonpool.should_checkpoint():    # the GPUs are wanted back
            save(commonpool.checkpoint_dir() / "state.pkl")
            commonpool.checkpointed()         # then leave: the job is queued again
            sys.exit(85)

Outside of a run everything still works: one node of no GPUs, never a checkpoint asked
for. It needs nothing but the standard library, and Ray only for `placement_group`.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

EXIT_CODE = 85
"""Leave with this code after a checkpoint that was asked for."""


def run_id() -> str | None:
    """Return the id of this attempt, or None outside of Commonpool."""
    return os.environ.get("COMMONPOOL_RUN")


def attempt() -> int:
    """Return 1 for the first attempt of the job, 2 after it was preempted or lost once."""
    return int(os.environ.get("COMMONPOOL_ATTEMPT", "1"))


def nodes() -> list[dict[str, Any]]:
    """Return the leased nodes: `node`, `gpus` (indices) and `ray_node_label`."""
    return list(json.loads(os.environ.get("COMMONPOOL_NODES", "[]")))


def should_checkpoint() -> bool:
    """Return whether the run was asked to save its state and leave. Cheap: call it often."""
    file = os.environ.get("COMMONPOOL_CHECKPOINT_FILE")
    return bool(file) and os.path.exists(str(file))  # noqa: PTH110  # in a training loop


def leave_by() -> str | None:
    """Return when the run is killed at the latest (ISO 8601), once it was asked to leave."""
    file = os.environ.get("COMMONPOOL_CHECKPOINT_FILE")
    if not file or not Path(file).exists():
        return None
    value = json.loads(Path(file).read_text(encoding="utf-8")).get("leave_by")
    return str(value) if value else None


def checkpointed() -> None:
    """Say that the state is safe: now, and at any time before, so that less is thought lost."""
    file = os.environ.get("COMMONPOOL_CHECKPOINT_FILE")
    if file:
        Path(f"{file}.done").write_text("", encoding="utf-8")


def checkpoint_dir() -> Path:
    """Return a folder that the job's next attempt finds again, at the same site."""
    folder = os.environ.get("COMMONPOOL_CHECKPOINT_DIR")
    path = Path(folder) if folder else Path(tempfile.gettempdir()) / "commonpool-checkpoints"
    path.mkdir(parents=True, exist_ok=True)
    return path


def placement_group(cpus_per_node: float = 1, timeout: float = 300) -> Any:  # noqa: ANN401  # Ray's own type, and Ray may be absent
    """Return a ready placement group: one bundle per leased node, all its leased GPUs in it.

    For gangs, and for any run on a shared cluster, where it keeps to the lease. Needs
    `entrypoint_num_gpus` 0: a driver that holds the GPUs leaves none for the group.

    Raises:
        RuntimeError: there are no leased nodes (not started by Commonpool).
        ray.exceptions.GetTimeoutError: Ray could not reserve it in `timeout` seconds.
    """
    import ray  # noqa: PLC0415  # the rest of this module works without it
    from ray.util.placement_group import placement_group as reserve  # noqa: PLC0415

    leased = nodes()
    if not leased:
        raise RuntimeError("COMMONPOOL_NODES is not set: this program has no leased nodes")
    if not ray.is_initialized():
        ray.init()
    bundles = [{"CPU": float(cpus_per_node), "GPU": float(len(n["gpus"]))} for n in leased]
    strategy = "STRICT_SPREAD" if len(leased) > 1 else "STRICT_PACK"
    group = reserve(bundles, strategy=strategy, bundle_label_selector=_selectors(leased))
    ray.get(group.ready(), timeout=timeout)
    return group


def _selectors(leased: list[dict[str, Any]]) -> list[dict[str, str]] | None:
    """Return a label per bundle, or None on a cluster whose nodes were not labelled by us."""
    import ray  # noqa: PLC0415

    labels = [node.get("Labels") or {} for node in ray.nodes() if node.get("Alive")]  # type: ignore[no-untyped-call]  # Ray's
    wanted = [dict(node["ray_node_label"]) for node in leased]
    known = all(any(w.items() <= have.items() for have in labels) for w in wanted)
    return wanted if known else None
