"""`commonpool simulate`: replay a trace of jobs against the planner, and say how all fared."""

import importlib.util
import io
import json
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scheduler.clock import cpu_seconds
from scheduler.core.predict import Predictor
from scheduler.garbage import look_seldom
from scheduler.sim import sacct, tables
from scheduler.sim.attempt import Costs
from scheduler.sim.compare import Simulated
from scheduler.sim.engine import Engine
from scheduler.sim.history import History
from scheduler.sim.limits import time_limits
from scheduler.sim.outputs import CHARTS, STANDARD_OUTPUT, chart_file, check_outputs, write_whole
from scheduler.sim.report import figures, measure, write_attempts
from scheduler.sim.rulebook import SHIPPED, read_rulebook
from scheduler.sim.setting import Cluster, Setting, set_up
from scheduler.sim.source import LONGEST
from scheduler.sim.trace import Trace
from scheduler.sim.trace_file import read_trace

app = typer.Typer()
_STEPS = 200  # of the progress bar: drawing it must cost nothing


@dataclass(frozen=True, slots=True)
class _Asked:
    """The command line, read."""

    trace: Trace
    cluster: Cluster | None
    limits: tuple[timedelta, ...]
    costs: Costs
    said: dict[str, Any]


TraceFile = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE",
        help="Jobs: CSV (docs/simulator.md) or `sacct --parsable2`, plain or gzip; - is stdin.",
    ),
]
Nodes = Annotated[int | None, typer.Option(min=1, max=100_000, help="Nodes of the cluster.")]
GpusPerNode = Annotated[int | None, typer.Option(min=1, max=64, help="GPUs of each node.")]
PolicyName = Annotated[
    str,
    typer.Option(
        metavar="FILE|default|easy|fifo", help="Rules to plan by, or a whole policy, in YAML."
    ),
]
Limits = Annotated[
    str,
    typer.Option(
        metavar="exact|FILE|factor:X",
        help="Time limits: each job's duration, CSV job_id,limit_s, or X times the duration; "
        "or asked, what sacct says.",
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write every figure as JSON; - prints it."),
]
JobsFile = Annotated[
    Path | None,
    typer.Option("--jobs", metavar="FILE", help="Write one CSV row per attempt; - prints it."),
]
RestartCost = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="What a restart after preemption takes.")
]
Checkpoint = Annotated[
    str,
    typer.Option(metavar="none|every:SECONDS", help="What work a preempted job has kept."),
]
Compare = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="A.yaml B.yaml",
        help="Simulate two policies instead, show both, and draw the difference.",
        show_default=False,
    ),
]
Charts = Annotated[
    Path, typer.Option(metavar="STEM", help="Where --compare draws: STEM.png and STEM.html.")
]


@app.command()
def simulate(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    trace: TraceFile,
    nodes: Nodes = None,
    gpus_per_node: GpusPerNode = None,
    policy: PolicyName = "default",
    limits: Limits = "exact",
    json_file: JsonFile = None,
    jobs_file: JobsFile = None,
    restart_cost: RestartCost = 0.0,
    checkpoint: Checkpoint = "none",
    compare: Compare = None,
    charts: Charts = Path("comparison"),
) -> None:
    """Replay a trace of jobs under a policy: waits, utilisation, fairness, preemptions.

    The planner is the hub's own, under a virtual clock. Example:
    commonpool simulate philly-2017.csv.gz --nodes 80 --gpus-per-node 8 --policy easy
    """
    drawn = {f"--charts ({end})": chart_file(charts, end) for end in CHARTS} if compare else {}
    check_outputs(trace, {"--json": json_file, "--jobs": jobs_file, **drawn})
    _check_compare(compare, jobs_file)
    jobs = read_trace(trace)
    said = {
        "trace": trace.name,
        "limits": limits,
        "restart_cost_s": restart_cost,
        "checkpoint": checkpoint,
    }
    costs = _costs(restart_cost, checkpoint)
    cluster = _cluster(nodes, gpus_per_node)
    asked = _Asked(jobs, cluster, time_limits(limits, jobs), costs, said)
    # With `--json -` or `--jobs -` the answer alone goes to standard output.
    aside = STANDARD_OUTPUT in {json_file, jobs_file}
    console = Console(stderr=aside, highlight=False, markup=False)
    if jobs.left_out:
        console.print(f"left out: {sacct.told_left_out(jobs.left_out)}")
    if compare:
        told = _compare(asked, compare, charts, console)
    else:
        told = _one(asked, policy, jobs_file, console)
    if json_file:
        write_whole(json_file, json.dumps(told, indent=2) + "\n")


def _check_compare(compare: tuple[str, str] | None, jobs_file: Path | None) -> None:
    if compare and jobs_file:
        raise typer.BadParameter("--jobs is of one policy: leave --compare out")
    if compare and not importlib.util.find_spec("matplotlib"):
        told = "--compare needs matplotlib, which is not installed: pip install 'commonpool[sim]'"
        raise typer.BadParameter(told)


def _one(asked: _Asked, policy: str, jobs_file: Path | None, console: Console) -> dict[str, Any]:
    done, told = _simulated(asked, policy)
    console.print(_title(asked, told), soft_wrap=True)
    console.print(tables.times_table(done.report))
    console.print(tables.rest_table(done.report))
    console.print(tables.tenants_table(done.report))
    if jobs_file:
        rows = io.StringIO(newline="")
        write_attempts(done.history, rows)
        write_whole(jobs_file, rows.getvalue())
    return told


def _compare(
    asked: _Asked, named: tuple[str, str], charts: Path, console: Console
) -> dict[str, Any]:
    # Imported here: drawing needs an extra, and a second to load.
    from scheduler.sim.charts import draw  # noqa: PLC0415

    # Both are read first: a mistake in the second should not cost the first one's time.
    for name in named:
        set_up(asked.trace, asked.cluster, read_rulebook(name), asked.limits)
    first, told = _simulated(asked, named[0])
    second, other = _simulated(asked, named[1])
    console.print(_title(asked, told | {"policy": f"{named[0]} and {named[1]}"}), soft_wrap=True)
    sides = ((first.name, first.report), (second.name, second.report))
    console.print(tables.side_by_side(*sides))
    drawn = draw(first, second, charts)
    console.print(f"drawn: {drawn[0]}, {drawn[1]}")
    return {"compared": [told, other]}


def _simulated(asked: _Asked, policy: str) -> tuple[Simulated, dict[str, Any]]:
    """Run one simulation; return it with all that `--json` says of it."""
    setting = set_up(asked.trace, asked.cluster, read_rulebook(policy), asked.limits)
    before = cpu_seconds()
    look_seldom()
    history = _run(setting, asked.costs, policy)
    report = measure(history)
    told = {
        **asked.said,
        "policy": policy,
        "nodes": len(setting.nodes),
        "gpus": setting.gpus,
        **figures(report),
        "cpu_s": cpu_seconds() - before,
    }
    return Simulated(policy if policy in SHIPPED else Path(policy).stem, history, report), told


def _run(setting: Setting, costs: Costs, name: str) -> History:
    """Run the engine, with a bar of the jobs that are over where someone watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(name, total=len(setting.works))
        step = max(1, len(setting.works) // _STEPS)
        drawn = 0

        def told(over: int) -> None:
            nonlocal drawn
            if over - drawn >= step:
                drawn = over
                bar.update(task, completed=over)

        engine = Engine(
            setting.policy, setting.nodes, costs, Predictor(), cpu=cpu_seconds, told=told
        )
        return engine.run(setting.works, setting.begins_at)


def _title(asked: _Asked, told: dict[str, Any]) -> str:
    return (
        f"{asked.trace.file.name}: {_counted(len(asked.trace.jobs), 'job')} on "
        f"{_counted(told['nodes'], 'node')}, {_counted(told['gpus'], 'GPU')}; "
        f"policy {told['policy']}, limits {told['limits']}"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _cluster(nodes: int | None, gpus_per_node: int | None) -> Cluster | None:
    if nodes is None and gpus_per_node is None:
        return None
    if nodes is None or gpus_per_node is None:
        raise typer.BadParameter("--nodes and --gpus-per-node belong together")
    return Cluster(nodes, gpus_per_node)


def _costs(restart: float, checkpoint: str) -> Costs:
    kind, _, seconds = checkpoint.partition(":")
    if not isfinite(restart) or restart > LONGEST.total_seconds():
        told = f"--restart-cost {restart:g} is not a number of seconds up to {LONGEST.days} days"
        raise typer.BadParameter(told)
    if checkpoint == "none":
        return Costs(timedelta(seconds=restart))
    try:
        every = timedelta(seconds=float(seconds))
    except (ValueError, OverflowError):
        every = timedelta(0)
    if kind != "every" or every <= timedelta(0):
        told = f"--checkpoint {checkpoint} is neither none nor every:SECONDS, such as every:3600"
        raise typer.BadParameter(told)
    return Costs(timedelta(seconds=restart), every)
