"""Tables of the planner's commands, as a person reads them."""

from rich.console import Console

from portal.cli_planner_tables import what_if_table
from scheduler.wire.what_if import FaredView, OutcomeView, WhatIf


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
        console.print(what_if_table(WhatIf(jobs=2, before=side(7200), after=side(3600))))
    said = seen.get()
    assert "2.00 -> 1.00" in said
    assert "1,234.5 -> 1,234.5" in said
    assert "Utilisation 50.0% -> 50.0%" in said
