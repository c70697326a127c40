"""What a real machine tells the hub of itself, as plain data in the form of the wire.

The agent's long-lived process does without pydantic, which alone would cost it a third of
its memory; the tests hold what is built here to the wire's own messages.
"""

from datetime import datetime

from agents.node.samples import Gpu, NodeView, SamplerState

_MIB = 1024 * 1024
_VENDOR = frozenset({"nvidia", "tesla", "graphics", "device"})
_FAMILIES = frozenset({"geforce", "rtx", "quadro", "titan"})
_LONGEST_MODEL, _LONGEST_WHY = 40, 200
_RECOVERY = {
    1: "reset the GPU",
    2: "reboot the node",
    3: "drain peer-to-peer",
    4: "drain and reset",
    5: "recover the IMEX domain",
    6: "reset the bus",
    7: "reboot the system",
}
"""Source: `nvmlDeviceGpuRecoveryAction_t` of NVIDIA's public nvml.h."""


def model_of(name: str) -> str:
    """Return a GPU's model as pools call it: `H100` of `NVIDIA H100 80GB HBM3`."""
    words = [word for word in name.split() if word.lower() not in _VENDOR] or [name]
    family = words[0].lower() in _FAMILIES
    model = "-".join(words) if family else words[0].partition("-")[0]
    return (model or name)[:_LONGEST_MODEL]


def gpus(view: NodeView, model: str) -> list[dict[str, object]]:
    """Return every GPU of the machine; `model` is what to call them, empty: by their name."""
    found = []
    for gpu in view.gpus:
        sample = view.samples.get(gpu.uuid)
        total = sample.readings.memory_total_bytes if sample else None
        why = ailment(view, gpu)
        found.append(
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "model": model or model_of(gpu.model),
                "memory_mib": None if total is None else total // _MIB,
                "healthy": not why,
                "why_unhealthy": why[:_LONGEST_WHY],
            }
        )
    return found


def ailment(view: NodeView, gpu: Gpu) -> str:
    """Say why no work should come to a GPU; empty if it is well."""
    if view.state is not SamplerState.OK:
        return f"sampler {view.state}: {view.detail}"
    sample = view.samples.get(gpu.uuid)
    if sample is None:
        return "no fresh sample"
    if sample.fault is not None:
        return f"GPU {sample.fault}"
    action = sample.readings.recovery_action
    return f"the driver asks to {_RECOVERY.get(action, f'act ({action})')}" if action else ""


def report(
    view: NodeView, *, node: str, pool: str, block: str, model: str, boot_id: str
) -> dict[str, object] | None:
    """Return a report without its number and time; None while there is no GPU to speak of."""
    known = gpus(view, model)
    if not known or view.state is SamplerState.STARTING:
        return None
    return {"node": node, "pool": pool, "block": block, "boot_id": boot_id, "gpus": known}


def numbered(told: dict[str, object], sequence: int, now: datetime) -> dict[str, object]:
    """Return a report as the `sequence`-th of its process."""
    return {**told, "sequence": sequence, "sampled_at": now.isoformat()}
