"""Run intervals x factors -> H100e: what is written down when a lease ends (R3, R15).

Time counts from the lease, used or not. A lease is settled exactly once; the caller
sees to that, and a negative interval (clocks that disagree) counts as nothing.
"""

from datetime import datetime, timedelta

from scheduler.core import fairshare, hardware
from scheduler.core.model import AccountName, Usage


def h100e_seconds(gpus: int, factor: int, since: datetime, until: datetime) -> float:
    """Return undecayed H100e-seconds, as a bill states them; `factor` is in thousandths."""
    seconds = max(0.0, (until - since).total_seconds())
    return gpus * factor * seconds / hardware.H100E


def settle(
    before: Usage | None,
    account: AccountName,
    lease: tuple[int, int, datetime, datetime],
    half_life: timedelta,
) -> Usage:
    """Return the account's balance with one ended lease added.

    Args:
        before: the balance so far, None where there is none yet.
        account: the leaf that pays.
        lease: GPUs, factor in thousandths, since when, until when.
        half_life: of recorded use.
    """
    gpus, factor, since, until = lease
    used = fairshare.accrued(gpus * factor / hardware.H100E, since, until, half_life)
    own = Usage(account, used, until)
    if before is None:
        return own
    as_of = max(before.as_of, until)
    total = fairshare.settled(before, as_of, half_life) + fairshare.settled(own, as_of, half_life)
    return Usage(account, total, as_of)
