"""A dry run as a message: each candidate in numbers, and in one sentence where people ask."""

from collections.abc import Mapping
from datetime import datetime

from scheduler.api.explanations import eta_view
from scheduler.api.views import verdict_view
from scheduler.core.admission import Ask
from scheduler.core.counterfactual import about
from scheduler.core.dry_run import (
    Candidate,
    DryRun,
    Length,
    QuotaEffect,
    recall_pool,
)
from scheduler.core.policy import Policy
from scheduler.core.predict import Level
from scheduler.core.ways import Basis, Way
from scheduler.db.recall_chances import Lent
from scheduler.wire.dry_run import (
    CandidateView,
    DryRunView,
    LengthView,
    QuotaEffectView,
    RecallChance,
)
from scheduler.wire.explanations import EtaView

LOOK_BACK_DAYS = 30
"""The chance of recall is told from runs that ended in so many days."""

_ROUGH_BELOW = 20


def dry_run_view(
    found: DryRun, policy: Policy, now: datetime, lent: Mapping[str, Lent], same_as: str | None
) -> DryRunView:
    """Return a dry run as people and programs read it."""
    first = found.candidates[0].ask
    return DryRunView(
        account=found.admitted.account.name,
        time_limit_seconds=int(found.admitted.time_limit.total_seconds()),
        planned_at=now,
        candidates=tuple(_candidate(one, first, policy, now, lent) for one in found.candidates),
        starts_first=found.starts_first,
        done_first=found.done_first,
        cheapest=found.cheapest,
        usual=found.usual,
        same_as=same_as,
        note=found.note,
    )


def _candidate(
    one: Candidate, first: Ask, policy: Policy, now: datetime, lent: Mapping[str, Lent]
) -> CandidateView:
    done, start = one.done, one.start
    return CandidateView(
        way=one.way,
        change=_change(one, first),
        tier=one.tier,
        pool=None if start is None else start.pool,
        quota_class=None if start is None else start.quota_class,
        gpus=one.gpus,
        starts_now=one.starts_now,
        start=_start(one, now),
        done_low=None if done is None else done.low,
        done_likely=None if done is None else done.likely,
        done_high=None if done is None else done.high,
        length=_length(one.length),
        price=one.price,
        price_most=one.most,
        recall=None if start is None else _recall(one, lent),
        quota=None if one.quota is None else _quota(one, one.quota),
        verdicts=tuple(verdict_view(verdict, policy) for verdict in one.verdicts),
    )


def _start(one: Candidate, now: datetime) -> EtaView | None:
    """Return the expected start; that of the next cycle is no matter of intervals."""
    if one.eta is None:
        return None
    found = eta_view(one.eta, now)
    if not one.starts_now:
        return found
    wait = one.eta.low - now
    said = (
        f"The next cycle leases its GPUs; it starts {about(wait)}, once their runs have left."
        if wait
        else "The next cycle starts it."
    )
    return found.model_copy(update={"sentence": said})


def _change(one: Candidate, first: Ask) -> dict[str, object]:
    """Return the fields of the request that make it this candidate."""
    match one.way:
        case Way.AS_ASKED:
            return {}
        case Way.TIER:
            return {"tier": [tier.value for tier in one.ask.tiers]}
        case Way.FEWER:
            names = ("nodes", "gpus_per_node")
            changed = [name for name in names if getattr(one.ask, name) != getattr(first, name)]
            return {name: getattr(one.ask, name) for name in changed}


def _length(length: Length) -> LengthView:
    return LengthView(
        low_seconds=length.low.total_seconds(),
        likely_seconds=length.likely.total_seconds(),
        high_seconds=length.high.total_seconds(),
        basis=length.basis,
        samples=length.samples,
        sentence=_length_sentence(length),
    )


_IN_COMMON = {
    Level.NAME: "of yours by this name and size",
    Level.USER: "of yours of this size",
    Level.SHAPE: "of this account and size",
    Level.ACCOUNT: "of this account, of any size",
    Level.GPUS: "of this size, of anybody",
    Level.ALL: "of anybody, of any size",
}


def _length_sentence(length: Length) -> str:
    match length.basis:
        case Basis.HISTORY:
            jobs = f"{length.samples} jobs {_IN_COMMON[length.level or Level.ALL]}"
            rough = ": rough" if length.samples < _ROUGH_BELOW else ""
            return f"By {jobs}{rough}."
        case Basis.STATED:
            return "By what was stated: no such job has run before."
        case Basis.LIMIT:
            return "Its whole time limit: no such job has run before."


def _recall(one: Candidate, lent: Mapping[str, Lent]) -> RecallChance:
    pool, days = recall_pool(one), LOOK_BACK_DAYS
    if pool is None:
        said = "Its GPUs are in quota: no borrower, and no other account's job, takes them back."
        return RecallChance(chance=0.0, runs=0, recalled=0, days=days, sentence=said)
    found = lent.get(pool)
    if found is None:
        said = f"Not known: no lent run of {pool} has ended in the last {days} days."
        return RecallChance(chance=None, runs=0, recalled=0, days=days, sentence=said)
    rough = ": few to tell by" if found.runs < _ROUGH_BELOW else ""
    said = (
        f"{found.recalled} of {found.runs} lent runs of {pool} were recalled in the last "
        f"{days} days{rough}."
    )
    chance = found.recalled / found.runs
    return RecallChance(
        chance=chance, runs=found.runs, recalled=found.recalled, days=days, sentence=said
    )


def _quota(one: Candidate, effect: QuotaEffect) -> QuotaEffectView:
    return QuotaEffectView(
        nominal=effect.nominal,
        used=effect.used,
        used_after=effect.used_after,
        budget=None if effect.budget is None else effect.budget.id,
        budget_left=effect.left,
        budget_most=effect.most,
        sentence=_quota_sentence(one, effect),
    )


def _quota_sentence(one: Candidate, effect: QuotaEffect) -> str:
    account = one.job.account
    if effect.nominal is None:
        said = f"It takes nothing of a quota of {account}."
    else:
        gpus = "1 GPU" if effect.used_after == 1 else f"{effect.used_after} GPUs"
        said = (
            f"{account} then uses {gpus} there (now {effect.used}); its quota is {effect.nominal}."
        )
    if effect.budget is None or effect.left is None:
        return said
    return (
        f"{said} Budget {effect.budget.id}: {effect.left:,.1f} H100e-hours left, of which it may"
        f" take {effect.most or 0.0:,.1f}."
    )
