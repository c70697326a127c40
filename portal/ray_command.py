"""A job written as its owner would submit it with Ray's own tools.

Ray's command line joins its words with `subprocess.list2cmdline`, which changes commands
that hold quotes; for those there is only the Python form.
"""

import json
import shlex
from subprocess import list2cmdline  # for its quoting alone; nothing is run

from scheduler.core.model import PriorityClass
from scheduler.wire.jobs import JobView

FROM_ENVIRONMENT = "os.environ['COMMONPOOL_TOKEN']"


def metadata(job: JobView) -> dict[str, str]:
    """Return the job's wishes as the metadata keys that Ray's clients can carry."""
    low, high = job.tier
    return {
        "commonpool.nodes": str(job.nodes),
        "commonpool.gpus_per_node": str(job.gpus_per_node),
        "commonpool.account": job.account,
        "commonpool.time_limit": f"{job.time_limit_seconds}s",
        "commonpool.tier": low.value if low is high else f"{low.value}..{high.value}",
        "commonpool.label": job.label,
        **({"commonpool.gpu_models": ",".join(job.gpu_models)} if job.gpu_models else {}),
        **({} if job.preemptible else {"commonpool.preemptible": "false"}),
        **(
            {}
            if job.priority is PriorityClass.STANDARD
            else {"commonpool.priority": job.priority.value}
        ),
    }


def command_line(job: JobView, hub_url: str, token: str) -> str | None:
    """Return the `ray job submit` command; None where Ray would change the job's command.

    `token` is how the shell gets the token, `"$(cat dana.token)"` say; never the secret.
    """
    words = job.entrypoint.split()
    if list2cmdline(words) != job.entrypoint:
        return None
    return " \\\n  ".join(
        [
            f"RAY_ADDRESS={hub_url} RAY_AUTH_MODE=token RAY_AUTH_TOKEN={token}",
            "ray job submit --working-dir .",
            f"--metadata-json {shlex.quote(json.dumps(metadata(job)))}",
            f"-- {shlex.join(words)}",
        ]
    )


def python_form(job: JobView, hub_url: str, token_file: str | None) -> str:
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
