"""When is a budget used up? Its burn so far, drawn on with a cone (R4).

Daily use is taken as draws of one distribution, so what t more days use has mean t x m and
variance s^2 x (t + t^2 / n): of the draws to come, and of a mean that n days told.

Source: the prediction interval for a sum of future observations, e.g. G. J. Hahn and
W. Q. Meeker, "Statistical Intervals", 1991, section 4.8 (normal theory).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import sqrt
from statistics import fmean, stdev

ENOUGH = 3
"""Whole days of use from which a cone is drawn; fewer say nothing about how use varies."""

_INTERVAL = 1.2816  # of the normal distribution, both ends: 80 % lies between
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Outlook:
    """What will be left of a budget at the end of a day, in its own unit; never below zero.

    80 times of 100 it will lie between `low` and `high`, if use goes on as it went.
    """

    day: date
    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast a budget is used per day, and on which day it will be used up.

    None is a day after the budget's last; `earliest` and `latest` are the ends of the 80 %
    interval. `cone` begins with today and ends where nothing is left for sure, or the budget ends.
    """

    per_day: float
    earliest: date | None
    likely: date | None
    latest: date | None
    cone: tuple[Outlook, ...]


def forecast(daily: Sequence[float], left: float, today: date, last: date) -> Forecast | None:
    """Draw the use of whole days on, from what is left today to the budget's last day.

    None where fewer than three days tell how use varies, or where the budget is over.
    """
    if len(daily) < ENOUGH or last < today:
        return None
    mean, spread = fmean(daily), stdev(daily)
    cone = [Outlook(today, left, left, left)]
    while cone[-1].high > 0 and cone[-1].day < last and len(cone) <= _LONGEST:
        ahead = len(cone)
        width = _INTERVAL * spread * sqrt(ahead + ahead * ahead / len(daily))
        used = mean * ahead
        # Nobody gives back what was used: more of it than today is never left.
        cone.append(
            Outlook(
                today + timedelta(days=ahead),
                max(0.0, left - used - width),
                max(0.0, left - used),
                min(left, max(0.0, left - used + width)),
            )
        )
    empty = [
        next((one.day for one in cone if getattr(one, end) <= 0), None)
        for end in ("low", "likely", "high")
    ]
    return Forecast(mean, empty[0], empty[1], empty[2], tuple(cone))
