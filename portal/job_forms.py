"""A job as its owner would submit it from elsewhere: Ray's tools, `commonpool submit`, YAML.

Each asks for the same job. Ray's command line joins its words, newer ones with `shlex.join`
and older ones with `subprocess.list2cmdline`, which changes commands that hold quotes or signs
of a shell; for those there is only the Python form.
"""

import json
import shlex
from collections.abc import Sequence
from subprocess import list2cmdline  # for its quoting alone; nothing is run

import yaml

from scheduler.core.model import PriorityClass, Tier
from scheduler.core.thresholds import UNNAMED
from scheduler.wire.jobs import JobRequest, JobView

FROM_ENVIRONMENT = "os.environ['COMMONPOOL_TOKEN']"


def request_of(job: JobView) -> JobRequest:
    """Return what was asked for, without its id, files and environment."""
    said: dict[str, object] = {
        "entrypoint": job.entrypoint,
        "name": job.name,
        "account": job.account,
        "nodes": job.nodes,
        "gpus_per_node": job.gpus_per_node,
        "gpu_models": job.gpu_models,
        "memory_gib": job.memory_gib,
        "h100e": job.h100e,
        "software": job.software,
        "reservation": job.reservation,
        "tier": job.tier,
        "label": job.label,
        "priority": job.priority,
        "preemptible": job.preemptible,
        "time_limit_seconds": job.time_limit_seconds,
        "metadata": job.metadata,
    }
    if job.training and job.training.model_line != UNNAMED:
        said |= {"model_line": job.training.model_line, "training_flop": job.training.flop}
    if job.h100e:  # these were then left for it to say
        del said["nodes"], said["gpus_per_node"]
    return JobRequest.model_validate(said)


def metadata(job: JobRequest) -> dict[str, str]:
    """Return the job's wishes as the metadata keys that Ray's clients can carry."""
    said = {
        "nodes": "" if job.h100e else str(job.nodes),
        "gpus_per_node": "" if job.h100e else str(job.gpus_per_node),
        "account": job.account or "",
        "time_limit": f"{job.time_limit_seconds}s" if job.time_limit_seconds else "",
        "tier": _span(job.tier),
        "label": job.label,
        "gpu_models": ",".join(job.gpu_models),
        "preemptible": "" if job.preemptible else "false",
        "priority": "" if job.priority is PriorityClass.STANDARD else job.priority.value,
        "name": job.name,
        "memory_gib": str(job.memory_gib or ""),
        "h100e": str(job.h100e or ""),
        "software": ",".join(job.software),
        "reservation": job.reservation or "",
        "model_line": job.model_line,
        "training_flop": f"{job.training_flop:.6g}" if job.training_flop else "",
    }
    own = {f"commonpool.{name}": value for name, value in said.items() if value}
    return {**job.metadata, **own}


def _span(tiers: Sequence[Tier]) -> str:
    names = list(dict.fromkeys(tier.value for tier in tiers))
    return "..".join(names)


def command_line(job: JobRequest, hub_url: str, token: str) -> str | None:
    """Return the `ray job submit` command; None where Ray would change the job's command.

    `token` is how the shell gets the token, `"$(cat dana.token)"` say; never the secret.
    """
    words = job.entrypoint.split()
    if {list2cmdline(words), shlex.join(words)} != {job.entrypoint}:
        return None
    return " \\\n  ".join(
        [
            f"RAY_ADDRESS={hub_url} RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token}",
            "ray job submit --working-dir .",
            f"--metadata-json {shlex.quote(json.dumps(metadata(job)))}",
            f"-- {shlex.join(words)}",
        ]
    )


def python_form(job: JobRequest, hub_url: str, token_file: str | None) -> str:
    """Return the same by Ray's Python client, which carries any command unchanged."""
    where = f"Path({token_file!r}).read_text().strip()" if token_file else FROM_ENVIRONMENT
    return "\n".join(
        [
            "from pathlib import Path" if token_file else "import os",
            "",
            "from ray.job_submission import JobSubmissionClient",
            "",
            f"token = {where}",
            "client = JobSubmissionClient(",
            f"    {hub_url!r}, headers={{'Authorization': f'Bearer {{token}}'}}",
            ")",
            "client.submit_job(",
            f"    entrypoint={job.entrypoint!r},",
            "    runtime_env={'working_dir': '.'},",
            f"    metadata={metadata(job)!r},",
            ")",
        ]
    )


def commonpool_line(job: JobRequest, hub_url: str, token_file: str | None) -> str:
    """Return the `commonpool submit` command. Without a file, COMMONPOOL_TOKEN has the token."""
    own = {
        "--nodes": "" if job.h100e else str(job.nodes),
        "--gpus-per-node": "" if job.h100e else str(job.gpus_per_node),
        "--h100e": str(job.h100e or ""),
        "--memory-gib": str(job.memory_gib or ""),
        "--tier": _span(job.tier),
        "--label": job.label,
        "--priority": "" if job.priority is PriorityClass.STANDARD else job.priority.value,
        "--time-limit": f"{job.time_limit_seconds}s" if job.time_limit_seconds else "",
        "--account": job.account or "",
        "--name": job.name,
        "--reservation": job.reservation or "",
        "--model-line": job.model_line,
        "--training-flop": f"{job.training_flop:.6g}" if job.training_flop else "",
    }
    lists = {
        "--gpu-model": job.gpu_models,
        "--software": job.software,
        "--metadata": tuple(f"{key}={text}" for key, text in job.metadata.items()),
    }
    words = [f"{name}={shlex.quote(value)}" for name, value in own.items() if value]
    words += [f"{name}={shlex.quote(each)}" for name, values in lists.items() for each in values]
    words += [] if job.preemptible else ["--no-preempt"]
    door = f"commonpool submit --hub {hub_url}"
    door += f" --token-file {shlex.quote(token_file)}" if token_file else ""
    # A command of a single word for our shell is passed on as it is written.
    return " \\\n  ".join(
        [door, "--working-dir .", " ".join(words), f"-- {shlex.quote(job.entrypoint)}"]
    )


def yaml_form(job: JobRequest, working_dir: str | None = ".") -> str:
    """Return the file that `commonpool submit --file` reads; None is a job without files."""
    said = job.model_dump(mode="json", exclude_defaults=True, exclude={"runtime_env"})
    if job.h100e == 0:
        said |= {"nodes": job.nodes, "gpus_per_node": job.gpus_per_node}
    if working_dir is not None:
        said["working_dir"] = working_dir
    return str(yaml.safe_dump(said, sort_keys=False, allow_unicode=True))
