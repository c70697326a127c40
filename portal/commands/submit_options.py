"""The options of `commonpool submit`: what may be said of a job, and its help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler.core.model import PriorityClass


@dataclass(frozen=True, slots=True)
class Start:
    """What a job starts from: fields of a template or a file, and the files that go along."""

    fields: dict[str, Any]
    package: bytes | None
    working_dir: Path | None
    expected_seconds: int | None


Entrypoint = Annotated[
    list[str] | None,
    typer.Argument(metavar="-- COMMAND...", help="What to run, after --.", show_default=False),
]
TemplateName = Annotated[
    str | None, typer.Option("--template", metavar="NAME", help="See `commonpool templates`.")
]
File = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="A job as YAML, its fields by name.")
]
Metadata = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="A note on it; repeat for several.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say where, when and for how much; submit nothing.")
]
Nodes = Annotated[
    int | None,
    typer.Option(min=1, help="Nodes of the gang.  \\[default: 1]", show_default=False),
]
GpusPerNode = Annotated[
    int | None, typer.Option(min=1, help="GPUs on each.  \\[default: 1]", show_default=False)
]
GpuModels = Annotated[
    list[str] | None, typer.Option(help="A model that will do; repeat for several.")
]
MemoryGib = Annotated[
    int | None, typer.Option(min=1, help="GiB that each GPU must have, at least.")
]
H100e = Annotated[
    int | None,
    typer.Option(min=1, help="H100-equivalents on any model, in place of nodes and GPUs."),
]
Software = Annotated[
    list[str] | None, typer.Option(help="What a pool must offer; repeat for several.")
]
ModelLine = Annotated[str | None, typer.Option(help="The line of models that it trains (R17).")]
TrainingFlop = Annotated[
    float | None, typer.Option(help="FLOP that it adds to its model line, such as 1.2e25.")
]
Reservation = Annotated[str | None, typer.Option(help="Run only in this advance reservation.")]
Tier = Annotated[
    str | None, typer.Option(metavar="TIER[..TIER]", help="One tier, or lowest..highest.")
]
Label = Annotated[str | None, typer.Option(help="Pools must be accredited for it.")]
Priority = Annotated[PriorityClass | None, typer.Option(help="Order in your queue.")]
TimeLimit = Annotated[str | None, typer.Option(metavar="30m", help="90s, 30m, 2h, 7d.")]
NoPreempt = Annotated[
    bool, typer.Option("--no-preempt", help="Refuse recall; then no borrowing either.")
]
Account = Annotated[str | None, typer.Option(help="Who pays, if you have several.")]
Name = Annotated[str | None, typer.Option(help="What it is called; run times are foreseen by it.")]
SubmissionId = Annotated[str | None, typer.Option(help="Your own id for it.")]
WorkingDir = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder to upload, as `ray job submit` does."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the job has ended.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print its log too.")]
