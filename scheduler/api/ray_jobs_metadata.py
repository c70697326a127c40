"""What a submission of Ray's client asks of us in its metadata, as `commonpool.*`: pure.

An unknown key is a typing error that would otherwise cost somebody a night's run, so it is
refused with what it may have meant; what cannot be together is refused too.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.api.ray_jobs_runtime_env import meant, refuse
from scheduler.core.model import PriorityClass, Tier
from scheduler.errors import Refused
from scheduler.wire.jobs import LONGEST_NAME, MOST_H100E, MOST_MEMORY_GIB, MOST_SOFTWARE

PREFIX = "commonpool."
MAX_NODES = 4096
MAX_GPUS_PER_NODE = 64
MAX_MODELS = 16
MAX_SECONDS = 366 * 86_400
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_SOFTWARE = re.compile(r"[a-z0-9][a-z0-9._+-]{0,62}")
_RESERVATION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_FLOP = re.compile(r"[0-9]{1,31}(\.[0-9]{1,20})?([eE]\+?[0-9]{1,2})?")
_MOST_FLOP = 1e30


def ours(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return our own fields out of the metadata.

    Raises:
        Refused: 422, a key that we do not know, or a value out of its range.
    """
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        if not key.lower().startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if name not in _OURS:
            raise _unknown(key)
        found |= _OURS[name](key, text.strip())
    return found


def _unknown(key: str) -> Refused:
    known = tuple(PREFIX + name for name in _OURS)
    step = meant(key, known)
    return _semantic(key[:80], key, "is not a field of ours", limit=", ".join(known), step=step)


def _semantic(field: str, value: str, detail: str, *, limit: str = "", step: str = "") -> Refused:
    refused = refuse(field, value, detail, limit=limit, step=step)
    refused.status = 422
    return refused


def _count(name: str, most: int) -> Callable[[str, str], dict[str, Any]]:
    def read(key: str, text: str) -> dict[str, Any]:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
            limit = f"a whole number from 1 to {most}"
            raise _semantic(key, text, f"may not be {text[:40]!r}", limit=limit)
        return {name: int(text)}

    return read


def _account(key: str, text: str) -> dict[str, Any]:
    if not text:
        raise _semantic(key, text, "is empty", step="name an account, or leave it out")
    return {"account": text}


def _time_limit(key: str, text: str) -> dict[str, Any]:
    parts = _DURATION.fullmatch(f"{text}s" if re.fullmatch(r"[0-9]+", text) else text)
    units = (86_400, 3600, 60, 1)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(parts.groups(), units, strict=True))
        if parts
        else 0
    )
    if not 1 <= seconds <= MAX_SECONDS:
        limit = f"1s to {MAX_SECONDS // 86_400}d, as 90s, 30m, 2h, 1h30m or seconds"
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit=limit)
    return {"time_limit_seconds": seconds}


def _gpu_models(key: str, text: str) -> dict[str, Any]:
    models = tuple(dict.fromkeys(model.strip() for model in text.split(",")))
    if not all(models) or len(models) > MAX_MODELS:
        limit = f"1 to {MAX_MODELS} models with commas between, as H100,H200"
        raise _semantic(key, text, f"may not be {text[:80]!r}", limit=limit)
    return {"gpu_models": models}


def _tier(key: str, text: str) -> dict[str, Any]:
    names = [name.strip() for name in text.split("..")]
    known = ", ".join(Tier)
    if len(names) > 2 or not all(name in list(Tier) for name in names):  # noqa: PLR2004  # a pair
        step = meant(text, tuple(Tier))
        limit = f"one of {known}, or lowest..highest"
        raise _semantic(key, text, f"may not be {text[:80]!r}", limit=limit, step=step)
    tiers = tuple(Tier(name) for name in names)
    if tiers[0].rank > tiers[-1].rank:
        step = f"write {tiers[-1]}..{tiers[0]}"
        raise _semantic(key, text, f"has the lowest tier above the highest: {text}", step=step)
    return {"tier": tiers}


def _label(key: str, text: str) -> dict[str, Any]:
    if not text:
        raise _semantic(key, text, "is empty", step="name a label, or leave it out")
    return {"label": text}


def _preemptible(key: str, text: str) -> dict[str, Any]:
    if text.lower() not in {"true", "false"}:
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit="true or false")
    return {"preemptible": text.lower() == "true"}


def _priority(key: str, text: str) -> dict[str, Any]:
    if text not in list(PriorityClass):
        known = tuple(PriorityClass)
        limit, step = ", ".join(known), meant(text, known)
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit=limit, step=step)
    return {"priority": PriorityClass(text)}


def _name(key: str, text: str) -> dict[str, Any]:
    if len(text) > LONGEST_NAME or not text.isprintable():
        limit = f"at most {LONGEST_NAME} printable characters"
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit=limit, step="shorten it")
    return {"name": text}


def _software(key: str, text: str) -> dict[str, Any]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if len(names) > MOST_SOFTWARE or not all(_SOFTWARE.fullmatch(name) for name in names):
        limit = f"1 to {MOST_SOFTWARE} names with commas between, as cuda-12.4,pytorch"
        step = "`commonpool pools` shows what each pool is"
        raise _semantic(key, text, f"may not be {text[:80]!r}", limit=limit, step=step)
    return {"software": names}


def _reservation(key: str, text: str) -> dict[str, Any]:
    if not _RESERVATION.fullmatch(text):
        limit = "the id of a reservation in the policy"
        step = "name one of your account's, or leave it out"
        raise _semantic(key, text, f"may not be {text[:80]!r}", limit=limit, step=step)
    return {"reservation": text}


def _model_line(key: str, text: str) -> dict[str, Any]:
    if not _RESERVATION.fullmatch(text):
        raise _semantic(key, text, f"may not be {text[:80]!r}", limit="a name such as vision-7b")
    return {"model_line": text}


def _training_flop(key: str, text: str) -> dict[str, Any]:
    if not _FLOP.fullmatch(text) or not 0 < float(text) <= _MOST_FLOP:
        limit = "FLOP, more than 0 and at most 1e30, as 1.2e25"
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit=limit)
    return {"training_flop": float(text)}


def _simulated_seconds(key: str, text: str) -> dict[str, Any]:
    """Check only: it stays in the metadata, where a simulated site reads it."""
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", text):
        raise _semantic(key, text, f"may not be {text[:40]!r}", limit="seconds, 0 or more")
    return {}


_OURS: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    "nodes": _count("nodes", MAX_NODES),
    "gpus_per_node": _count("gpus_per_node", MAX_GPUS_PER_NODE),
    "account": _account,
    "time_limit": _time_limit,
    "gpu_models": _gpu_models,
    "tier": _tier,
    "label": _label,
    "preemptible": _preemptible,
    "priority": _priority,
    "name": _name,
    "memory_gib": _count("memory_gib", MOST_MEMORY_GIB),
    "h100e": _count("h100e", MOST_H100E),
    "software": _software,
    "reservation": _reservation,
    "model_line": _model_line,
    "training_flop": _training_flop,
    "simulated_seconds": _simulated_seconds,
}


def gang(ours: Mapping[str, Any], driver_gpus: float) -> dict[str, int]:
    """Return the gang: by our own fields, else by what the driver asks, else nothing.

    Raises:
        Refused: 422, they contradict one another.
    """
    if "h100e" in ours:
        _alone(ours, driver_gpus)
        return {}
    nodes = ours.get("nodes", 1)
    per_node = ours.get("gpus_per_node", int(driver_gpus))
    if nodes > 1 and driver_gpus > 0:
        raise _semantic(
            "entrypoint_num_gpus",
            str(int(driver_gpus)),
            f"is {int(driver_gpus)} and contradicts commonpool.nodes {nodes}: it reserves GPUs "
            "for the driver, on one node",
            step="leave it out and ask by commonpool.gpus_per_node",
        )
    if driver_gpus > per_node:
        raise _semantic(
            "entrypoint_num_gpus",
            str(int(driver_gpus)),
            f"is {int(driver_gpus)} and contradicts commonpool.gpus_per_node {per_node}: the "
            "driver cannot hold more GPUs than the job",
            step=f"ask for commonpool.gpus_per_node {int(driver_gpus)}, or leave one of them out",
        )
    return {"gpus_per_node": per_node} if per_node else {}


def _alone(ours: Mapping[str, Any], driver_gpus: float) -> None:
    """Refuse a number of GPUs next to H100-equivalents, which are as many as a pool's need."""
    given = [PREFIX + name for name in ("nodes", "gpus_per_node") if name in ours]
    given += ["entrypoint_num_gpus"] if driver_gpus > 0 else []
    if given:
        raise _semantic(
            f"{PREFIX}h100e",
            str(ours["h100e"]),
            f"is {ours['h100e']} and contradicts {given[0]}: a job asks for nodes of GPUs, or for "
            "H100-equivalents on as many GPUs of a pool as they need",
            limit="without nodes, gpus_per_node and entrypoint_num_gpus",
            step=f"leave out {' and '.join(given)}, or {PREFIX}h100e",
        )


def check_together(fields: Mapping[str, Any]) -> None:
    """Refuse fields that contradict one another.

    Raises:
        Refused: 422, with one of them.
    """
    background = fields.get("priority") is PriorityClass.BACKGROUND
    if background and not fields.get("preemptible", True):
        raise _semantic(
            f"{PREFIX}preemptible",
            "false",
            f"is false and contradicts {PREFIX}priority background: background jobs cost "
            "nothing and can be ended at any time",
            step="leave one of them out",
        )
