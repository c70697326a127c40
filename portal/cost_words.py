"""What a job costs in words, the same in the terminal and on the page."""

from portal.dry_run_words import hours_word
from portal.format import TIER_WORDS, count
from scheduler.wire.job_reports import JobCost, Payer, PoolPrice, RunCost

LITTLE = 0.01
FREE = "background work is charged to nobody"


def hours(amount: float) -> str:
    """Return H100e-hours with their unit; what is too little for two digits says so."""
    little = 0 < amount < LITTLE
    return f"under {LITTLE} H100e-hours" if little else f"{hours_word(amount)} H100e-hours"


def who_pays(cost: JobCost) -> str:
    """Return who is charged, in a sentence."""
    if cost.payer is Payer.NOBODY:
        return f"Nobody pays: {FREE}, and anybody's work recalls it."
    if cost.payer is Payer.RESERVATION:
        return (
            f"The reservation {cost.reservation} pays: it was charged to its account as a whole,"
            " and runs in it cost nothing more."
        )
    if not cost.budgets:
        return f"Account {cost.account} is charged; no budget binds it."
    return f"Account {cost.account} is charged; it counts in {', '.join(cost.budgets)}."


def so_far(cost: JobCost) -> str:
    """Return what was charged so far."""
    return "nothing" if not cost.charged_h100e_hours else hours(cost.charged_h100e_hours)


def in_the_end(cost: JobCost) -> str:
    """Return what is charged in the end, at most."""
    if cost.at_limit_h100e_hours is None:
        return "not known: no pool may take it"
    return "nothing" if not cost.at_limit_h100e_hours else hours(cost.at_limit_h100e_hours)


def attempt(run: RunCost) -> str:
    """Return what one attempt took, and who is charged for it."""
    took = f"{count(run.gpus, 'GPU')} on {run.pool}: took {hours(run.h100e_hours)}"
    if run.guest:
        return f"{took}; a guest on an idle lease pays nothing"
    if run.payer is Payer.NOBODY:
        return f"{took}; {FREE}"
    if run.payer is Payer.RESERVATION:
        return f"{took}; paid for by its reservation"
    return f"{took}, charged"


def price(one: PoolPrice) -> str:
    """Return what a pool would cost, in a line."""
    worth = f"1 {one.gpu_model} hour = {one.h100e_factor:g} H100e-hours"
    return (
        f"{TIER_WORDS[one.tier]}: {one.pool}, {count(one.gpus, 'GPU')},"
        f" {hours(one.at_limit_h100e_hours)} at its limit ({worth})"
    )
