"""What would become of a job, and what there is to start from, as tables of the terminal."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table

from portal.catalogue import Template
from portal.dry_run_words import (
    chance_word,
    done_word,
    places,
    price_word,
    start_word,
    where_word,
)
from scheduler.wire.dry_run import DryRunView


def print_dry_run(console: Console, found: DryRunView, now: datetime) -> None:
    """Print all candidates, marked by what each is best at; then what to do."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "where", "starts", "done", "H100e-h", "chance of recall"):
        table.add_column(heading, justify="right" if heading == "H100e-h" else "left")
    for place, one in enumerate(found.candidates):
        named = ", ".join(places(found, place)) or one.way.value
        table.add_row(
            named,
            where_word(one),
            start_word(one, now),
            done_word(one, now),
            price_word(one),
            chance_word(one),
        )
    console.print(table)
    first = found.candidates[0]
    console.print(first.length.sentence, markup=False)
    for verdict in first.verdicts:
        console.print(f"{verdict.pool or 'every pool'}: {verdict.sentence}", markup=False)
    for said in (first.quota.sentence if first.quota else "", found.note, _same(found)):
        if said:
            console.print(said, markup=False)
    console.print("Nothing was submitted: leave --dry-run out for that.")


def _same(found: DryRunView) -> str:
    return "" if found.same_as is None else f"The same request submitted {found.same_as} before."


def templates_table(found: Sequence[Template]) -> Table:
    """Return templates, one line each, in the order of the challenges."""
    table = Table(box=None, pad_edge=False)
    for heading in ("template", "challenge", "GPUs", "takes", "what it does"):
        table.add_column(heading, no_wrap=heading != "what it does")
    for one in found:
        gpus = one.said.nodes * one.said.gpus_per_node
        table.add_row(
            one.name,
            one.said.challenge,
            str(gpus),
            f"{one.said.expected_seconds} s",
            one.said.purpose,
        )
    return table
