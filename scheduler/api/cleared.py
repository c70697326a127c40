"""Whether somebody may read what another person's job printed: its label decides (R14).

A role shows that a job is there, where it is and why. What it prints is data of its label, so
whoever reads another's log must be cleared for that label themselves. A failed run's message
carries the end of its log along, so of those only the first line is told to who is not cleared.
Whose job it is was cleared when they submitted it; an administrator's token is no person.
"""

from collections.abc import Sequence
from dataclasses import replace

from scheduler.api.auth import Caller
from scheduler.api.views import JobFacts
from scheduler.core.labels import Lattice
from scheduler.core.policy import Policy
from scheduler.db.rows import EventRow, JobRow
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope

NOT_SHOWN = "(what it printed is shown to those who are cleared for its label)"


def reads_output(policy: Policy, caller: Caller, job: JobRow) -> bool:
    """Return whether a caller who may see a job may also read what it prints."""
    if caller.scope is Scope.ADMIN or caller.subject == job.user:
        return True
    return Lattice(policy.labels).covers(_labels(policy, caller.subject), job.shape.label)


def check_reads_output(policy: Policy, caller: Caller, job: JobRow) -> None:
    """Hold a reader of a job's log to its label.

    Raises:
        Refused: 403, it is another's, of a label that the caller is not cleared for.
    """
    if reads_output(policy, caller, job):
        return
    held = _labels(policy, caller.subject)
    raise Refused(
        title="Not allowed",
        detail=f"The log is of a job labelled '{job.shape.label}', which you are not cleared for.",
        status=403,
        field="label",
        value=job.shape.label,
        limit=f"labels of {caller.subject}: {', '.join(sorted(held)) or 'none'}",
        next_step=f"Ask {job.user}, or an administrator for the clearance.",
    )


def told_to(policy: Policy, caller: Caller, facts: JobFacts) -> JobFacts:
    """Return what a caller may know of a job: without what it printed where its label says so."""
    if reads_output(policy, caller, facts.job):
        return facts
    job = replace(facts.job, message=_first_line(facts.job.message))
    runs = tuple(replace(run, message=_first_line(run.message)) for run in facts.runs)
    return replace(facts, job=job, runs=runs)


def events_told_to(
    policy: Policy, caller: Caller, job: JobRow, events: Sequence[EventRow]
) -> Sequence[EventRow]:
    """Return a job's history as a caller may see it, likewise."""
    if reads_output(policy, caller, job):
        return events
    return [replace(event, sentence=_first_line(event.sentence)) for event in events]


def _labels(policy: Policy, user: str) -> frozenset[str]:
    return next((one.labels for one in policy.users if one.name == user), frozenset())


def _first_line(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first} {NOT_SHOWN}" if rest.strip() else first
