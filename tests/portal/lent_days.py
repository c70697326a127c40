"""Weeks of lending between three sectors, and the use of four, for the portal's fake hub."""

import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import Response

from scheduler import policy_file
from scheduler.api.ledger import LedgerQuery, Reach, ledger_page
from scheduler.api.ledger_pairs import PairQuery, pair_page
from scheduler.core.burndown import forecast
from scheduler.core.ledger import Loan, Sums
from scheduler.core.lenders import Party
from scheduler.core.model import Sector, Tier
from scheduler.core.pair_balances import PairBalances
from scheduler.wire.diagnostics import RecallView
from scheduler.wire.ledger import LedgerPage
from scheduler.wire.operating import WastePage, WasteView
from scheduler.wire.pair_balances import PairPage
from scheduler.wire.sector_use import SectorHours, SectorUsePage
from scheduler.wire.usage import (
    AccountUsage,
    BudgetView,
    BurnDay,
    DayView,
    OutlookView,
    UsagePage,
)

DEMO = Path(__file__).parents[2] / "infra/policies/demo.yaml"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ARL = Party("arl-vision", "arl", Sector.DOD)
STATE_U = Party("state-u", "state-u", Sector.ACADEMIC)
NLP = Party("state-u-nlp", "state-u", Sector.ACADEMIC)
ACME = Party("acme-robotics", "acme", Sector.INDUSTRY)
ABOVE = {
    "dana": ["national", "arl", "arl-vision"],
    "alex": ["national", "state-u", "state-u-nlp"],
    "iris": ["national", "acme", "acme-robotics"],
    "zoe": [],
}
SECTORS = {"national": Sector.DOD, "arl": Sector.DOD, "state-u": Sector.ACADEMIC}
PACE = {"arl-vision": 120.0, "state-u-nlp": 210.0, "acme-robotics": 90.0}


def loans(now):
    """Return loans of six weeks, the oldest first; two go on, every fifth was recalled."""
    kinds = [
        (STATE_U, ACME, "state-u-hpc", Tier.INSTITUTION, 8, "state-u-lends-industry"),
        (ARL, NLP, "arl-team", Tier.TEAM, 4, "arl-lends-academia"),
        (ARL, ACME, "national-hub", Tier.NATIONAL, 5, None),
        (NLP, ACME, "national-hub", Tier.NATIONAL, 3, None),
        (NLP, ARL, "national-hub", Tier.NATIONAL, 16, None),
    ]
    found = []
    for number in range(1, 40):
        lender, borrower, pool, tier, gpus, agreement = kinds[number % len(kinds)]
        started = now - 42 * DAY + number * 26 * HOUR
        lasted = HOUR * (4 + 5 * (number % 4))
        found.append(
            Loan(
                id=number,
                run=f"cp-jloan{number:05d}-1",
                lender=lender,
                borrower=borrower,
                pool=pool,
                tier=tier,
                gpus=gpus,
                factor=1000,
                agreement=agreement,
                started_at=min(started, now - HOUR),
                ended_at=started + lasted if started + lasted < now else None,
                recalled_at=started + lasted - timedelta(minutes=2) if number % 5 == 0 else None,
                is_simulated=True,
            )
        )
    return found


def recalls():
    def one(lender, recalls, kept, p50, p99, notice):
        return RecallView(
            lender=lender,
            pool=None,
            recalls=recalls,
            started=recalls,
            given_up=0,
            kept=kept,
            late=recalls - kept,
            p50_seconds=p50,
            p99_seconds=p99,
            longest_notice_seconds=notice,
        )

    return (
        one("arl-vision", 5, 5, 31.0, 44.5, 60.0),
        one("state-u-nlp", 9, 8, 412.0, 655.0, 600.0),
    )


def page(hub, user, query):
    since, until = query.window(hub.now + timedelta(minutes=1))
    own = ABOVE[user][1:]
    sums = Sums(query.by, since, until)
    for loan in hub.loans:
        sums.add(loan)
    seen = [
        loan
        for loan in reversed(hub.loans)
        if {loan.lender.account, loan.borrower.account} & set(own)
        and loan.amount(since, until)
        and loan.id < (query.after or 10**9)
    ]
    reach = Reach(tuple(own), frozenset(own))
    return ledger_page(sums, (seen, query.limit), reach, hub.recalls)


def pairs(hub, query):
    since, until = query.window(hub.now + timedelta(minutes=1))
    found = PairBalances(query.by, since, until, query.parts)
    for loan in hub.loans:
        found.add(loan)
    return pair_page(found, policy_file.load(DEMO.read_text(encoding="utf-8"), 1))


def used_days(now):
    """Return each leaf's GPU-hours by day, 92 days back, today's last: weeks rise and fall."""
    today = now.date()
    found = {}
    for account, pace in PACE.items():
        found[account] = []
        for ago in range(91, -1, -1):
            day = today - ago * DAY
            week = 0.35 if day.weekday() > 4 else 1 + 0.25 * math.sin(day.toordinal())
            found[account].append((day, round(pace * week * (0.4 if not ago else 1), 2)))
    return found


def usage(hub, user, days):
    first = hub.now.date() - (days - 1) * DAY
    accounts = [_account(hub, name, first) for name in ABOVE[user]]
    budgets = [each for each in hub.budgets if each.account in ABOVE[user]]
    since = datetime.combine(first, datetime.min.time(), hub.now.tzinfo)
    return UsagePage(since=since, until=hub.now, accounts=tuple(accounts), budgets=tuple(budgets))


def _account(hub, name, first):
    below = [one for one in PACE if one == name or name in {"national", one[: len(name)]}]
    sums = {}
    for leaf in below:
        for day, hours in hub.used_days.get(leaf, []):
            if day >= first:
                sums[day] = sums.get(day, 0) + hours
    days = tuple(
        DayView(
            day=day,
            in_quota_gpu_hours=round(hours * 0.7, 3),
            borrowed_gpu_hours=round(hours * 0.25, 3),
            background_gpu_hours=round(hours * 0.05, 3),
            charged_h100e_hours=round(hours * 0.95, 3),
        )
        for day, hours in sorted(sums.items())
    )
    leaf = name in PACE
    return AccountUsage(
        account=name,
        parent=None if name == "national" else name.rpartition("-")[0] if leaf else "national",
        sector=SECTORS.get(name, Sector.INDUSTRY),
        gpu_hours=round(sum(sums.values()), 3),
        charged_h100e_hours=round(sum(sums.values()) * 0.95, 3),
        days=days,
    )


def budgets(now):
    today = now.date()
    return [
        _budget("arl-2026", "arl", 9000, 40, today, now),
        _budget("arl-vision-q4", "arl-vision", 4200, 20, today, now),
        _budget("state-u-2026", "state-u", 6000, 30, today, now),
        _budget("nation", "national", 90_000, 60, today, now),
    ]


def _budget(name, account, limit, age, today: date, now):
    days = [today - ago * DAY for ago in range(age, -1, -1)]
    used = [120 * (0.35 if day.weekday() > 4 else 1.1) for day in days]
    left = [limit - sum(used[: n + 1]) for n in range(len(days))]
    ahead = forecast(used[-28:-1], left[-1], today, today + 70 * DAY)
    return BudgetView(
        budget=name,
        account=account,
        valid_from=now - age * DAY,
        valid_to=now + 70 * DAY,
        limit=limit,
        used=round(sum(used), 2),
        reserved=160.0,
        left=round(left[-1] - 160, 2),
        per_day=round(ahead.per_day, 2),
        earliest=ahead.earliest,
        likely=ahead.likely,
        latest=ahead.latest,
        burn=tuple(BurnDay(day=d, left=round(v, 2)) for d, v in zip(days, left, strict=True)),
        cone=tuple(
            OutlookView(day=one.day, low=one.low, likely=one.likely, high=one.high)
            for one in ahead.cone
        ),
    )


def waste():
    rows = [
        ("acme-robotics", 4000.0, 0.18),
        ("state-u-nlp", 5200.0, 0.82),
        ("arl-vision", 3100.0, 0.64),
        ("state-u-bio", 180.0, 0.12),
        ("arl-speech", 60.0, None),
    ]
    return tuple(
        WasteView(
            account=account,
            leased_gpu_hours=leased,
            measured_gpu_hours=leased * 0.9 if share else 0,
            used_gpu_hours=leased * 0.9 * (share or 0),
            share_used=share,
        )
        for account, leased, share in rows
    )


def sector_use(hub, days):
    """Return days in which academia works by day, DoD all the time, and industry at times."""
    since = (hub.now - days * DAY).replace(minute=0, second=0, microsecond=0)
    hours = [since + timedelta(hours=n) for n in range(days * 24 + 1)]
    used = {
        Sector.ACADEMIC: [20.0 if 8 <= at.hour < 20 else 6.5 for at in hours],
        Sector.DOD: [8.0 + at.day % 4 for at in hours],
        Sector.INDUSTRY: [4.0 if at.weekday() > 2 else 0.0 for at in hours],
    }
    return SectorUsePage(
        since=since,
        until=hub.now,
        capacity=56,
        simulated=True,
        sectors=tuple(SectorHours(sector=one, gpus=tuple(gpus)) for one, gpus in used.items())
        if hub.anybody
        else (),
    )


def serve(app, hub, caller):
    """Add the endpoints about lending and use."""
    who = Annotated[str, Depends(caller)]

    @app.get("/v1/ledger")
    def ledger(user: who, query: Annotated[LedgerQuery, Query()]) -> LedgerPage:
        return page(hub, user, query)

    @app.get("/v1/ledger/pairs")
    def by_pair(_: who, query: Annotated[PairQuery, Query()]) -> PairPage:
        return pairs(hub, query)

    @app.get("/v1/ledger/entries.{kind}")
    def entries(_: who, kind: str) -> Response:
        return Response(f"loan,side as {kind}\n".encode())

    @app.get("/v1/usage")
    def used(user: who, days: int = 28) -> UsagePage:
        return usage(hub, user, days)

    @app.get("/v1/sector-use")
    def by_sector(_: who, days: int = 14) -> SectorUsePage:
        return sector_use(hub, days)

    @app.get("/v1/waste")
    def wasted(_: who, days: int = 7) -> WastePage:
        return WastePage(since=hub.now - days * DAY, until=hub.now, accounts=hub.waste)
