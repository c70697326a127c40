"""A candidate of a dry run in words and numbers, the same in the terminal and on the page."""

from datetime import datetime, timedelta

from portal.format import QUOTA_WORDS, TIER_WORDS, count, rough
from scheduler.core.model import Tier
from scheduler.core.ways import Basis, Way
from scheduler.wire.dry_run import CandidateView, DryRunView

SOON = timedelta(seconds=60)
ROUGH_BELOW = 20


def places(found: DryRunView, place: int) -> tuple[str, ...]:
    """Return what the candidate at that place is best at; it may be all three."""
    named = {
        "starts first": found.starts_first,
        "done first": found.done_first,
        "cheapest": found.cheapest,
    }
    return tuple(name for name, at in named.items() if at == place)


def cards(found: DryRunView) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return the candidates worth a card, each once, with what they are best at."""
    named = [found.starts_first, found.done_first, found.cheapest]
    order = dict.fromkeys(at for at in named if at is not None)
    return tuple((at, places(found, at)) for at in order)


def where_word(one: CandidateView) -> str:
    """Return the pool, its tier, and on which terms."""
    if one.pool is None or one.tier is None or one.quota_class is None:
        return tier_word(one)
    changed = " on half the GPUs" if one.way is Way.FEWER else ""
    return (
        f"{one.pool} ({TIER_WORDS[one.tier]}), {count(one.gpus, 'GPU')}{changed},"
        f" {QUOTA_WORDS[one.quota_class]}"
    )


def tier_word(one: CandidateView) -> str:
    """Return the pool with its tier; of one that is not foreseen to start, the tier asked for."""
    if one.tier is not None:
        return f"{TIER_WORDS[one.tier]}: {one.pool}"
    tiers = one.change.get("tier")
    return f"{TIER_WORDS[Tier(tiers[0])]}: none" if isinstance(tiers, list) and tiers else "none"


def start_word(one: CandidateView, now: datetime) -> str:
    """Return when it starts, as likely, and its interval where it has one."""
    if one.start is None:
        return "not within what could be foreseen"
    if one.starts_now:
        return _in(one.start.low, now)
    return _interval(one.start.low, one.start.likely, one.start.high, now)


def done_word(one: CandidateView, now: datetime) -> str:
    """Return when it is over, as likely, and its interval."""
    if one.done_low is None:
        return "not known"
    if one.length.basis is Basis.LIMIT and one.starts_now:
        return f"by its limit, {_in(one.done_low, now)}"
    return _interval(one.done_low, one.done_likely, one.done_high, now)


def _interval(low: datetime, likely: datetime | None, high: datetime | None, now: datetime) -> str:
    if likely is None:
        return f"{_in(low, now)} at the earliest"
    if high is not None and high - low < SOON:
        return _in(likely, now)
    end = "open" if high is None else rough(max(high - now, timedelta(0)))
    return f"{_in(likely, now)} ({rough(max(low - now, timedelta(0)))} to {end})"


def _in(at: datetime, now: datetime) -> str:
    wait = at - now
    return "now" if wait < timedelta(seconds=5) else f"in {rough(wait)}"


def price_word(one: CandidateView) -> str:
    """Return the likely price in H100e-hours, to two digits that say something."""
    return "?" if one.price is None else hours_word(one.price)


def hours_word(hours: float) -> str:
    """Return H100e-hours with as many digits as they are worth."""
    if hours >= 10 or hours == 0:  # noqa: PLR2004
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours < 1 else f"{hours:.1f}"


def chance_word(one: CandidateView) -> str:
    """Return the chance that its GPUs are taken back, and from how many runs that is known."""
    if one.recall is None or one.recall.chance is None:
        return "not known"
    if one.recall.runs == 0:
        return "none, in quota"
    few = ", few to tell by" if one.recall.runs < ROUGH_BELOW else ""
    return f"{one.recall.chance:.0%} of {one.recall.runs} runs{few}"
