"""`commonpool estimate`: what a training run takes, before anything is asked for (R16)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from scheduler import policy_file
from scheduler.admin_direct import read_policy
from scheduler.core import compute_law as law

app = typer.Typer()


@app.command()
def estimate(
    params: Annotated[
        float, typer.Option(help="Parameters, such as 7e9; of a sparse model, the active ones.")
    ],
    tokens: Annotated[float, typer.Option(help="Tokens seen in training, such as 1e12.")],
    mfu: Annotated[float, typer.Option(help="Part of the GPU's dense BF16 rate.")] = law.MFU,
    within_days: Annotated[
        float, typer.Option(help="A tier is proposed if it takes no longer.", min=0.01)
    ] = law.PATIENCE_DAYS,
    policy: Annotated[
        Path | None, typer.Option(help="Use the pools of this policy.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Reckon FLOP, H100e-hours, days per tier and the tier to ask for, each as an interval."""
    tiers = law.TYPICAL_H100E
    if policy is not None:
        tiers = law.tier_h100e(policy_file.load(read_policy(policy), 0))
    try:
        found = law.estimate(
            law.training_flop(params, tokens), law.mfu_around(mfu), tiers, within_days
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(
        f"{params:g} parameters and {tokens:g} tokens take {found.flop:.3g} FLOP "
        f"({law.ALPHA} per parameter and token)"
    )
    typer.echo(_hours(found))
    console = Console()
    console.print(_table(found))
    typer.echo(_advice(found.proposal, within_days))


def _hours(found: law.Estimate) -> str:
    hours, mfu = found.h100e_hours, found.mfu
    return (
        f"{hours.expected:,.0f} H100e-hours at {mfu.expected:.0%} MFU; "
        f"{hours.best:,.0f} at {mfu.best:.0%}, {hours.worst:,.0f} at {mfu.worst:.0%}"
    )


def _table(found: law.Estimate) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("tier", "H100e", "days", "best", "worst"):
        table.add_column(heading, justify="left" if heading == "tier" else "right")
    for tier in found.tiers:
        days = (tier.days.expected, tier.days.best, tier.days.worst)
        table.add_row(tier.tier, f"{tier.h100e:,.0f}", *(f"{value:,.1f}" for value in days))
    return table


def _advice(proposal: law.Proposal, within_days: float) -> str:
    within = f"within {within_days:g} days of a whole tier"
    if proposal.expected is None:
        best = f"; at best, {proposal.best} does" if proposal.best else ""
        return f"no tier does it {within}{best}: ask for fewer tokens or a longer time"
    if proposal.worst is proposal.best:
        return f"ask for the tier {proposal.expected}: it does it {within}"
    worst = f"{proposal.worst} in the worst case" if proposal.worst else "none in the worst case"
    return f"ask for the tier {proposal.expected} ({worst}): it does it {within}"
