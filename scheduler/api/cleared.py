"""Whether somebody may read what another person's job is made of and does: its label decides (R14).

A role shows that a job is there, where it is, why and for how much. Its name, command, metadata
and environment, what it prints and what its GPUs do are data of its label, so whoever reads
another's must be cleared for that label themselves. A failed run's message carries the end of its
log along, so of those only the first line is told to who is not cleared. Whose job it is was
cleared when they submitted it; an administrator's or a site's own token is no person.
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
COMMAND_NOT_SHOWN = "(not shown: you are not cleared for its label)"


def is_cleared(policy: Policy, caller: Caller, user: str, label: str) -> bool:
    """Return whether a caller may read what a user's job of a label is made of, and does."""
    if caller.scope is not Scope.USER or caller.subject == user:
        return True
    return Lattice(policy.labels).covers(_labels(policy, caller.subject), label)


def check_is_cleared(
    policy: Policy, caller: Caller, job: JobRow, what: str = "What it prints"
) -> None:
    """Hold a reader of a job's log, or of what its GPUs do, to its label.

    Raises:
        Refused: 403, it is another's, of a label that the caller is not cleared for.
    """
    if is_cleared(policy, caller, job.user, job.shape.label):
        return
    held = _labels(policy, caller.subject)
    raise Refused(
        title="Not allowed",
        detail=f"{what} is data of a job labelled '{job.shape.label}', which you are not cleared"
        " for.",
        status=403,
        field="label",
        value=job.shape.label,
        limit=f"labels of {caller.subject}: {', '.join(sorted(held)) or 'none'}",
        next_step=f"Ask {job.user}, or an administrator for the clearance.",
    )


def told_to(policy: Policy, caller: Caller, facts: JobFacts) -> JobFacts:
    """Return what a caller may know of a job: where its label says so, not what it is made of."""
    if is_cleared(policy, caller, facts.job.user, facts.job.shape.label):
        return facts
    job = replace(
        facts.job,
        name="",
        entrypoint=COMMAND_NOT_SHOWN,
        metadata={},
        runtime_env={},
        entrypoint_options={},
        message=_first_line(facts.job.message),
    )
    runs = tuple(replace(run, message=_first_line(run.message)) for run in facts.runs)
    return replace(facts, job=job, runs=runs)


def events_told_to(
    policy: Policy, caller: Caller, job: JobRow, events: Sequence[EventRow]
) -> Sequence[EventRow]:
    """Return a job's history as a caller may see it, likewise."""
    if is_cleared(policy, caller, job.user, job.shape.label):
        return events
    return [replace(event, sentence=_first_line(event.sentence)) for event in events]


def _labels(policy: Policy, user: str) -> frozenset[str]:
    return next((one.labels for one in policy.users if one.name == user), frozenset())


def _first_line(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first} {NOT_SHOWN}" if rest.strip() else first
