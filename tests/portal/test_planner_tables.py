"""Tables of the planner's commands, as a person reads them."""

from datetime import UTC, datetime

from rich.console import Console

from portal.commands.planner_tables import recalls_table, what_if_table
from portal.commands.tables import print_explanation
from scheduler.core.lifecycle import JobState
from scheduler.wire.diagnostics import RecallPage, RecallView
from scheduler.wire.jobs import Explanation
from scheduler.wire.what_if import FaredView, OutcomeView, WhatIf


def recalled(lender, pool, p50=47.25):
    return RecallView(
        lender=lender,
        pool=pool,
        recalls=4,
        started=3,
        given_up=1,
        kept=3,
        late=0,
        p50_seconds=p50,
        p99_seconds=p50,
        longest_notice_seconds=60,
    )


def test_recalls_are_shown_by_pair_and_added_up_where_there_are_several():
    page = RecallPage(
        since="2026-03-01T12:00:00Z",
        until="2026-03-02T12:00:00Z",
        lenders=(recalled("arl", None), recalled("state", None)),
        pools=(recalled(None, "hub"), recalled(None, "team")),
        pairs=(recalled("arl", "hub"), recalled("state", "hub"), recalled("state", "team", None)),
    )
    console = Console(width=120)
    with console.capture() as seen:
        console.print(recalls_table(page))
    rows = [line.split() for line in seen.get().splitlines()]
    first = ["arl", "hub", "4", "3", "0", "1", "47.2", "s", "47.2", "s", "60.0", "s"]
    assert rows[1] == first
    assert [row[:2] for row in rows[2:6]] == [
        ["state", "hub"],
        ["state", "team"],
        ["state", "all"],
        ["all", "hub"],
    ]


def fared(account, wait):
    return FaredView(
        account=account,
        jobs=2,
        unfinished=0,
        mean_wait_seconds=wait,
        p95_wait_seconds=wait,
        gpu_hours=1234.5,
        preemptions=1,
    )


def side(wait):
    return OutcomeView(utilisation=0.5, total=fared(None, wait), accounts=(fared("arl", wait),))


def test_what_if_shows_each_figure_without_and_with_the_changes():
    console = Console(width=120)
    with console.capture() as seen:
        console.print(
            what_if_table(WhatIf(jobs=2, note="All 2 jobs.", before=side(7200), after=side(3600)))
        )
    said = seen.get()
    assert "2.00 -> 1.00" in said
    assert "1,234.5 -> 1,234.5" in said
    assert "All 2 jobs. Utilisation 50.0% -> 50.0%" in said


def test_a_job_of_which_nobody_knows_the_start_yet_says_so():
    console = Console(width=120)
    waits = Explanation(job="jabc", state=JobState.PENDING, summary="It waits.", history=())
    with console.capture() as seen:
        print_explanation(console, waits, datetime(2026, 11, 28, tzinfo=UTC))
    assert "When it should start is not known yet." in seen.get()
