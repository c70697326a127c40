"""What the form of a job starts with: nothing, a template, an earlier job, or a draft."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from portal.catalogue import Template
from portal.submission import Wish
from scheduler.core.model import PriorityClass, Tier
from scheduler.core.thresholds import UNNAMED
from scheduler.wire.accounts import Me
from scheduler.wire.drafts import Draft
from scheduler.wire.jobs import JobView

_WISH = TypeAdapter(Wish)


@dataclass(frozen=True, slots=True)
class Start:
    """The form's first values. `key` differs where they do, or fields would keep old ones.

    `again` is the job whose files go along; `drafted_at` is when a draft was kept.
    """

    wish: Wish
    key: str
    template: Template | None = None
    again: JobView | None = None
    drafted_at: datetime | None = None

    @property
    def expected_seconds(self) -> int | None:
        """Return how long the template takes, as its maker says."""
        return None if self.template is None else self.template.said.expected_seconds


def blank(me: Me, tiers: Sequence[Tier]) -> Start:
    """Return an empty form."""
    wish = Wish(
        entrypoint="",
        account=me.accounts[0],
        nodes=1,
        gpus_per_node=1,
        gpu_models=(),
        tiers=(tiers[0], tiers[-1]) if tiers else (Tier.TEAM, Tier.NATIONAL),
        all_tiers=True,
        label="public",
        priority=PriorityClass.STANDARD,
        preemptible=True,
        time_limit="",
        name="",
    )
    return Start(wish, "new")


def from_template(one: Template, me: Me, tiers: Sequence[Tier]) -> Start:
    """Return the form as a template fills it in; its program goes along."""
    wish = replace(
        blank(me, tiers).wish,
        entrypoint=one.said.entrypoint,
        nodes=one.said.nodes,
        gpus_per_node=one.said.gpus_per_node,
        time_limit=one.said.time_limit,
        job_name=f"template-{one.name}",
        template=one.name,
        files=one.package(),
    )
    return Start(wish, f"template-{one.name}", one)


def from_job(job: JobView, me: Me, tiers: Sequence[Tier]) -> Start:
    """Return the form as an earlier job was asked for."""
    usual = blank(me, tiers).wish
    by_amount = bool(job.h100e)
    line = "" if job.training is None else job.training.model_line.replace(UNNAMED, "")
    wish = replace(
        usual,
        entrypoint=job.entrypoint,
        account=job.account if job.account in me.accounts else usual.account,
        nodes=1 if by_amount else job.nodes,
        gpus_per_node=1 if by_amount else job.gpus_per_node,
        gpu_models=job.gpu_models,
        tiers=job.tier,
        all_tiers=False,
        label=job.label,
        priority=job.priority,
        preemptible=job.preemptible,
        time_limit=f"{job.time_limit_seconds}s",
        job_name=job.name,
        memory_gib=job.memory_gib,
        h100e=job.h100e,
        software=job.software,
        reservation=job.reservation or "",
        template=job.metadata.get("template", ""),
        model_line=line,
        training_flop=f"{job.training.flop:.6g}" if job.training and line else "",
    )
    return Start(wish, f"job-{job.id}", again=job)


def draft_of(wish: Wish) -> dict[str, Any]:
    """Return what of a wish is kept as a draft: all but the files."""
    said = asdict(replace(wish, files=None))
    return {name: value for name, value in said.items() if name != "files"}


def from_draft(draft: Draft, usual: Wish) -> Start | None:
    """Return the form as a draft left it; None where it is of another version of the form."""
    try:
        wish = _WISH.validate_python({**asdict(usual), **draft.content, "files": None})
    except (ValidationError, TypeError):
        return None
    key = f"draft-{draft.updated_at.timestamp():.0f}"
    return Start(wish, key, drafted_at=draft.updated_at)
