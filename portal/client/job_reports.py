"""What a `Hub` is asked about one job's GPUs and its bill."""

from urllib.parse import quote

from portal.client.hub import Hub
from scheduler.wire.job_reports import JobCost, JobUtilisation


def utilisation(hub: Hub, job: str) -> JobUtilisation:
    """Return what the job's GPUs did over its life."""
    return hub.ask(JobUtilisation, f"/v1/jobs/{quote(job, safe='')}/utilisation")


def cost(hub: Hub, job: str) -> JobCost:
    """Return what the job has cost and may come to."""
    return hub.ask(JobCost, f"/v1/jobs/{quote(job, safe='')}/cost")
