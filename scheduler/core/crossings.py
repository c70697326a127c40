"""Thresholds of training compute, and who may go beyond one (R17).

FLOP are added up per model line over all jobs of an institution, in the order in which they
were submitted. The job by which a line reaches a threshold of the policy waits until a
crossing covers it: the approved request of its account, for its line, up to so many FLOP and
for a time. FLOP are counted in petaFLOP (1e15), whole numbers: sums of them are exact.

Source: scheduling.md R17.
"""

from datetime import datetime, timedelta

from scheduler.core import compute_law, hardware
from scheduler.core.asking import Case
from scheduler.core.explain import Numbers, Reason, Verdict
from scheduler.core.model import Job
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ancestors
from scheduler.core.request_kinds import RequestKind, rule_for
from scheduler.core.roles import institution
from scheduler.core.thresholds import UNNAMED, Crossing, Threshold, flop_words, pflop_of
from scheduler.core.training import Training


def training_of(case: Case, time_limit: timedelta) -> Training | None:
    """Return what a job trains, as far as thresholds look at it; None where they need not.

    What is declared counts. Of a job that declares nothing, it is what its GPUs can do within
    its time limit at the best utilisation, and only where that alone reaches a threshold.
    """
    ask, policy = case.ask, case.rules.policy
    mine = institution(policy, case.account.name) or case.account.name
    line = ask.model_line or UNNAMED
    if ask.training_flop:
        declared = pflop_of(ask.training_flop)
        return Training(mine, line, declared, declared)
    most = _most(case, time_limit)
    least = min((row.pflop for row in policy.thresholds), default=None)
    if ask.model_line or (least is not None and most >= least):
        return Training(mine, line, most, most)
    return None


def _most(case: Case, time_limit: timedelta) -> int:
    """Return the petaFLOP that the job's GPUs can do within its limit, on the fastest pool."""
    sizes = ((pool, case.rules.fit(case.shape, pool)) for pool in case.allowed)
    milli = max((fit.gpus * case.rules.worth(pool) for pool, fit in sizes if fit), default=0)
    hours = time_limit / timedelta(hours=1)
    best = compute_law.mfu_around().best
    return pflop_of(milli / hardware.H100E * hours * compute_law.H100_FLOP_PER_HOUR * best)


def verdict(policy: Policy, job: Job, now: datetime) -> Verdict | None:
    """Return the verdict of a job that waits for an approval, None where it needs none (R17).

    Of several thresholds that its line reaches, the lowest that is not covered is named.
    """
    training = job.training
    if training is None or not policy.thresholds:
        return None
    for row in sorted(policy.thresholds, key=lambda row: (row.pflop, row.name)):
        if row.pflop > training.reaches or not _holds(row, now):
            continue
        if not _is_covered(policy, job, training, row.name, now):
            return _needs(policy, job, training, row.name)
    return None


def _holds(row: Threshold | Crossing, now: datetime) -> bool:
    begun = row.valid_from is None or row.valid_from <= now
    return begun and (row.valid_to is None or now < row.valid_to)


def _is_covered(
    policy: Policy, job: Job, training: Training, threshold: str, now: datetime
) -> bool:
    """Return whether a crossing was approved for this job, of this line, so far and now."""
    granted = [
        row
        for row in policy.crossings
        if row.threshold == threshold
        and row.model_line == training.line
        and row.job in {None, job.id}
        and row.pflop >= training.reaches
        and _holds(row, now)
    ]
    if not granted:
        return False
    chain = ancestors({a.name: a for a in policy.accounts}, job.account)
    return any(row.account in chain for row in granted)


def _needs(policy: Policy, job: Job, training: Training, threshold: str) -> Verdict:
    rule = rule_for(policy.approvals, RequestKind.THRESHOLD)
    numbers: Numbers = (
        ("threshold", threshold),
        ("line", training.line),
        ("account", job.account),
        ("flop", flop_words(training.reaches)),
        ("approvers", rule.approvers),
        ("institutions", rule.institutions),
    )
    return Verdict(Reason.THRESHOLD, None, numbers)
