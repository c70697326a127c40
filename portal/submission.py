"""From what a person put into the form to a request, and from a refusal back to its field."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote
from uuid import uuid4

from pydantic import ValidationError

from portal.client.hub import Hub, HubProblem, sentences
from portal.format import parse_duration
from scheduler.core.model import PriorityClass, Tier
from scheduler.wire.dry_run import DryRunRequest, DryRunView
from scheduler.wire.jobs import JobRequest, JobView

# The hub's words for a field, and the form's, where they differ.
FIELDS = {"time_limit_seconds": "time_limit", "runtime_env": "files", "working_dir": "files"}
PACKAGE = "_ray_pkg_{}.zip"

_EITHER = (
    "Say either H100-equivalents, or nodes and GPUs on each node: leave those two at 1, or this"
    " at 0."
)
_PATTERNS = {
    "model_line": "Use small letters, digits, “.”, “_” and “-”, such as vision-7b.",
    "submission_id": "Use letters, digits, “_” and “-” only, at most 63 of them.",
    "software": "Use the names of the policy, such as cuda-12.4: small letters, digits, “.”, “_”,"
    " “+” and “-”, with commas between names.",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form holds. `all_tiers` is whether `tiers` excludes nothing.

    `name` is the submission id; `job_name` is what run times are foreseen by. `h100e` stands in
    place of nodes and GPUs of each, which then are 1, the form's own start. `template` is the
    name of the one that it was made from.
    """

    entrypoint: str
    account: str | None
    nodes: int
    gpus_per_node: int
    gpu_models: tuple[str, ...]
    tiers: tuple[Tier, Tier]
    all_tiers: bool
    label: str
    priority: PriorityClass
    preemptible: bool
    time_limit: str
    name: str
    files: bytes | None = None
    job_name: str = ""
    memory_gib: int = 0
    h100e: int = 0
    software: tuple[str, ...] = ()
    reservation: str = ""
    template: str = ""
    model_line: str = ""
    training_flop: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a wish was not taken; `field` is the form's, empty where none is at fault."""

    field: str
    text: str


def request(wish: Wish) -> JobRequest | Trouble:
    """Return the request, or the field that is not right before the hub is asked."""
    if not wish.entrypoint.strip():
        return Trouble("entrypoint", "Say what to run, for example: python train.py")
    if wish.h100e and (wish.nodes, wish.gpus_per_node) != (1, 1):
        return Trouble("h100e", _EITHER)
    try:
        limit = parse_duration(wish.time_limit)
    except ValueError as error:
        return Trouble("time_limit", f"{error}. Write it as 90s, 30m, 2h 30m or 7d.")
    said: dict[str, object] = {
        "entrypoint": wish.entrypoint.strip(),
        **_size(wish),
        "label": wish.label,
        "priority": wish.priority,
        "preemptible": wish.preemptible,
        **({"submission_id": wish.name.strip()} if wish.name.strip() else {}),
        **({"account": wish.account} if wish.account else {}),
        **({"gpu_models": wish.gpu_models} if wish.gpu_models else {}),
        **({} if wish.all_tiers else {"tier": wish.tiers}),
        **({"time_limit_seconds": round(limit.total_seconds())} if limit else {}),
        **({"name": wish.job_name.strip()} if wish.job_name.strip() else {}),
        **({"memory_gib": wish.memory_gib} if wish.memory_gib else {}),
        **({"software": wish.software} if wish.software else {}),
        **({"reservation": wish.reservation.strip()} if wish.reservation.strip() else {}),
        **({"model_line": wish.model_line.strip()} if wish.model_line.strip() else {}),
        **({"training_flop": wish.training_flop.strip()} if wish.training_flop.strip() else {}),
        **({"metadata": {"template": wish.template}} if wish.template else {}),
    }
    try:
        return JobRequest.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        return Trouble(form_field(field), _own_words(field, first["type"], first["msg"]))


def _size(wish: Wish) -> dict[str, object]:
    if wish.h100e:
        return {"h100e": wish.h100e}
    return {"nodes": wish.nodes, "gpus_per_node": wish.gpus_per_node}


def send(
    hub: Hub,
    wish: Wish,
    keys: dict[str, str],
    *,
    again: str | None = None,
    change: Mapping[str, object] | None = None,
) -> JobView | Trouble:
    """Submit the wish, its files first. `keys` remembers a key per content.

    The same content sent again, after no answer came, is the same job and not a second. With
    `again`, a job's id, that job's files go along where the wish brings none; `change` is what
    a candidate of a dry run changes.

    Raises:
        HubUnreachable: no answer; nothing is known about the job until it is sent again.
    """
    asked = request(wish)
    if isinstance(asked, Trouble):
        return asked
    if change:
        asked = JobRequest.model_validate(
            asked.model_dump(mode="json", exclude_unset=True) | dict(change)
        )
    try:
        if wish.files is not None:
            environment = {"working_dir": _uploaded(hub, wish.files)}
            asked = asked.model_copy(update={"runtime_env": environment})
    except HubProblem as problem:
        return Trouble("files", sentences(problem))
    old = again if again and wish.files is None else None
    content = f"{old}{asked.model_dump_json()}"
    try:
        job = _sent(hub, asked, old, keys.setdefault(content, str(uuid4())))
    except HubProblem as problem:
        return Trouble(form_field(problem.field or ""), sentences(problem))
    keys.pop(content)
    return job


def _uploaded(hub: Hub, files: bytes) -> str:
    return hub.put_package(PACKAGE.format(sha256(files).hexdigest()[:16]), files)


def _sent(hub: Hub, asked: JobRequest, old: str | None, key: str) -> JobView:
    if old is None:
        return hub.submit(asked, key)
    said = asked.model_dump(mode="json", exclude_unset=True, exclude={"metadata"})
    message = {"change": {**_UNSAID, **said}}
    path = f"/v1/jobs/{quote(old, safe='')}/again"
    return hub.exchange(JobView, "POST", path, json=message, headers={"Idempotency-Key": key})


# What the form leaves out the old job may have said: here it is unsaid. Its metadata stay.
_UNSAID: Mapping[str, object] = {
    "tier": [],
    "gpu_models": [],
    "software": [],
    "reservation": None,
    "name": "",
    "memory_gib": 0,
    "time_limit_seconds": None,
    "model_line": "",
    "training_flop": 0,
}


def tried(hub: Hub, wish: Wish, expected_seconds: int | None) -> DryRunView | Trouble:
    """Return what would become of the wish; its files are not sent."""
    asked = request(wish)
    if isinstance(asked, Trouble):
        return asked
    said = DryRunRequest(job=asked, expected_seconds=expected_seconds)
    message = said.model_dump(mode="json", exclude_unset=True)
    try:
        return hub.exchange(DryRunView, "POST", "/v1/jobs/dry-run", json=message)
    except HubProblem as problem:
        return Trouble(form_field(problem.field or ""), sentences(problem))


def form_field(name: str) -> str:
    """Return the form's field for the hub's, `body.nodes` or `runtime_env.pip` for example."""
    known = set(Wish.__dataclass_fields__) | {"tier", "submission_id"} | set(FIELDS)
    parts = [part for part in name.split(".") if part in known]
    if not parts:
        return ""
    renamed: Mapping[str, str] = {
        **FIELDS,
        "tier": "tiers",
        "submission_id": "name",
        "name": "job_name",
    }
    return renamed.get(parts[0], parts[0])


def _own_words(field: str, kind: str, said: str) -> str:
    return _PATTERNS.get(field, said) if kind == "string_pattern_mismatch" else said
