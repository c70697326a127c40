"""Plays a hub's own history for `core.whatif`: the engine, measured per account."""

from collections import Counter
from collections.abc import Sequence

from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.whatif import Fared, Outcome, PastJob, Told
from scheduler.sim.engine import Engine
from scheduler.sim.history import Attempt, Ended, EndedBy, Work
from scheduler.sim.report import spread, utilisation
from scheduler.sim.setting import nodes_of

_HOUR = 3600.0


def play(policy: Policy, past: Sequence[PastJob], told: Told) -> Outcome:
    """Return how each account would have fared, with every node of the policy up."""
    if not past:
        return Outcome(0.0, _fared(None, [], [], []), ())
    works = [Work(each.job, each.ran) for each in past]
    begins_at = works[0].job.submitted_at
    engine = Engine(policy, nodes_of(policy), predictor=Predictor(), told=told)
    history = engine.run(works, begins_at)
    owner = {work.job.id: work.job.account for work in works}
    names = sorted({work.job.account for work in works})
    return Outcome(
        utilisation=utilisation(history),
        total=_fared(None, history.ended, history.attempts, history.unfinished),
        accounts=tuple(
            _fared(
                name,
                [each for each in history.ended if each.work.job.account == name],
                [each for each in history.attempts if owner[each.job] == name],
                [work for work in history.unfinished if work.job.account == name],
            )
            for name in names
        ),
    )


def _fared(
    account: AccountName | None,
    ended: Sequence[Ended],
    attempts: Sequence[Attempt],
    unfinished: Sequence[Work],
) -> Fared:
    waits = spread(each.wait for each in ended)
    by = Counter(each.ended_by for each in attempts)
    return Fared(
        account=account,
        jobs=len(ended) + len(unfinished),
        unfinished=len(unfinished),
        mean_wait=waits.mean,
        p95_wait=waits.p95,
        gpu_hours=sum(each.gpu_seconds for each in attempts) / _HOUR,
        preemptions=by[EndedBy.PREEMPTED],
    )
