"""Shapes between values and columns, and a short key to group by."""

import hashlib
import json
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping

from scheduler.core.model import NodeId, ReservationId, Shape, Slot, Tier

SHAPE_COLUMNS = (
    "nodes",
    "gpus_per_node",
    "gpu_models",
    "label",
    "tier_min",
    "tier_max",
    "preemptible",
    "background",
    "memory_gib",
    "h100e",
    "software",
    "reservation",
)
_KEPT = 16_384


@lru_cache(_KEPT)
def shape_key(shape: Shape) -> str:
    """Return a key that is equal exactly for equal shapes, in this and every later process."""
    canonical = json.dumps(shape_columns(shape), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def shape_columns(shape: Shape) -> dict[str, Any]:
    """Return a shape as the columns of `jobs`."""
    return {
        "nodes": shape.nodes,
        "gpus_per_node": shape.gpus_per_node,
        "gpu_models": sorted(shape.gpu_models),
        "label": shape.label,
        "tier_min": shape.tier_min.value,
        "tier_max": shape.tier_max.value,
        "preemptible": shape.preemptible,
        "background": shape.background,
        "memory_gib": shape.memory_gib,
        "h100e": shape.h100e,
        "software": sorted(shape.software),
        "reservation": shape.reservation,
    }


def shape_of(row: RowMapping) -> Shape:
    """Return the shape that a row of `jobs` spells out."""
    return Shape(
        nodes=row["nodes"],
        gpus_per_node=row["gpus_per_node"],
        gpu_models=frozenset(row["gpu_models"]),
        label=row["label"],
        tier_min=Tier(row["tier_min"]),
        tier_max=Tier(row["tier_max"]),
        preemptible=row["preemptible"],
        background=row["background"],
        memory_gib=row["memory_gib"],
        h100e=row["h100e"],
        software=frozenset(row["software"]),
        reservation=None if row["reservation"] is None else ReservationId(row["reservation"]),
    )


def slots_json(slots: tuple[Slot, ...]) -> list[list[Any]]:
    """Return slots as `[[node, [gpu, …]], …]`, in the order in which they were granted."""
    return [[slot.node, list(slot.gpus)] for slot in slots]


def slots_of(value: list[list[Any]]) -> tuple[Slot, ...]:
    """Return the slots that a JSON column holds."""
    return tuple(Slot(NodeId(node), tuple(gpus)) for node, gpus in value)
