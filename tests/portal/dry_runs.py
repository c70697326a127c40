"""What a dry run answers with in the tests of the pages: a free machine, and a busy one."""

from datetime import timedelta

from scheduler.core.model import QuotaClass, Tier
from scheduler.core.ways import Basis, Way
from scheduler.wire.dry_run import (
    CandidateView,
    DryRunView,
    LengthView,
    QuotaEffectView,
    RecallChance,
)
from scheduler.wire.explanations import EtaView

HOUR = timedelta(hours=1)


def free(now, asked, account):
    """One candidate that is best at all: it starts at once, in quota."""
    return _view(now, account, (_candidate(now, asked),), (0, 0, 0, 0))


def busy(now, asked, account):
    """Three that differ: the national tier is free and lent, the team's own is cheap and late."""
    late = {"wait": 3 * HOUR, "starts_now": False, "price": 1.0}
    lent = {"tier": Tier.NATIONAL, "pool": "national-hub", "quota_class": QuotaClass.BORROWED}
    candidates = (
        _candidate(now, asked, **late),
        _candidate(now, asked, way=Way.TIER, change={"tier": ["national"]}, price=2.5, **lent),
        _candidate(
            now,
            asked,
            way=Way.FEWER,
            change={"nodes": 1},
            wait=HOUR / 4,
            starts_now=False,
            length=HOUR / 2,
            price=1.4,
            **(lent | {"quota_class": QuotaClass.IN_QUOTA}),
        ),
    )
    return _view(now, account, candidates, (1, 2, 0, 2))


def _view(now, account, candidates, best):
    named = dict(zip(("starts_first", "done_first", "cheapest", "usual"), best, strict=True))
    return DryRunView(
        account=account, time_limit_seconds=600, planned_at=now, candidates=candidates, **named
    )


def _candidate(now, asked, *, wait=timedelta(0), length=HOUR, **more):
    low, likely, high = now + wait * 0.7, now + wait, now + wait * 2
    lent = more.get("quota_class") is QuotaClass.BORROWED
    fields = {
        "way": Way.AS_ASKED,
        "tier": Tier.TEAM,
        "pool": "arl-team",
        "quota_class": QuotaClass.IN_QUOTA,
        "gpus": asked.nodes * asked.gpus_per_node,
        "starts_now": True,
        "price": 1.0,
        "price_most": 4.0,
        "start": EtaView(low=low, likely=likely, high=high, informed=True, sentence="It starts."),
        "done_low": low + length,
        "done_likely": likely + length,
        "done_high": high + length,
        "length": LengthView(
            low_seconds=60,
            likely_seconds=length.total_seconds(),
            high_seconds=3600,
            basis=Basis.STATED,
            sentence="By what was stated: no such job has run before.",
        ),
        "recall": RecallChance(
            chance=0.25 if lent else 0.0,
            runs=40 if lent else 0,
            recalled=10 if lent else 0,
            days=30,
            sentence="10 of 40 lent runs were recalled." if lent else "In quota.",
        ),
        "quota": QuotaEffectView(
            nominal=8, used=4, used_after=5, sentence="arl-vision then uses 5 GPUs of its 8 there."
        ),
    }
    return CandidateView(**{**fields, **more})
