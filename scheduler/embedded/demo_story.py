"""The demo as data: who submits what through which door, and what must be seen of it.

Sizes are chosen for a machine with two cores: few Ray clusters at a time, large asks, so
that a dozen jobs show every rule; what holds GPUs for a while rests in between. The GPUs
are simulated, the programs and the clusters are real.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass
from scheduler.wire.jobs import Explanation, JobRun, JobView


class Door(StrEnum):
    """How a job comes in: by Ray's own command, unmodified, or by Commonpool's API."""

    RAY = "ray job submit"
    API = "/v1/jobs"


@dataclass(frozen=True, slots=True)
class Part:
    """A job of the story. `asks` are Commonpool's metadata keys, without their prefix."""

    key: str
    person: str
    shows: str
    command: str
    asks: Mapping[str, str]
    door: Door = Door.RAY


@dataclass
class Seen:
    """All that was observed of a part; what no longer holds is kept where it was once so."""

    part: Part
    job: JobView | None = None
    explanation: Explanation | None = None
    log: str = ""
    log_offset: int = 0
    log_is_complete: bool = False
    is_over: bool = False
    waited_for: str = ""
    refusal: str = ""
    told: set[tuple[str, str | None]] = field(default_factory=set)

    @property
    def runs(self) -> tuple[JobRun, ...]:
        return self.job.runs if self.job else ()

    @property
    def events(self) -> tuple[str, ...]:
        return tuple(e.event for e in self.explanation.history) if self.explanation else ()

    def has_state(self, *states: JobState) -> bool:
        """Return whether the job is in one of these states now."""
        return self.job is not None and self.job.state in states

    def has_ended(self) -> bool:
        """Return whether nothing more will happen to it."""
        return self.is_over


Cast = Mapping[str, Seen]
Claim = Callable[[Cast], bool]


@dataclass(frozen=True, slots=True)
class Scene:
    """Parts that are submitted together, and what must hold before the next scene."""

    words: str
    parts: tuple[Part, ...]
    until: Claim


def leased(key: str) -> Claim:
    """Claim that a job holds GPUs, or held some."""
    return lambda cast: bool(cast[key].runs)


def running(key: str) -> Claim:
    """Claim that a job's latest run runs, or that it has ended."""
    return lambda cast: cast[key].has_ended() or cast[key].has_state(JobState.RUNNING)


def printed(key: str, text: str) -> Claim:
    """Claim that a job's log holds a text."""
    return lambda cast: text in cast[key].log


def waited(key: str) -> Claim:
    """Claim that a job was held with a reason, for a pool by name."""
    return lambda cast: bool(cast[key].waited_for)


def refused(key: str, *words: str) -> Claim:
    """Claim that a job was refused in these words."""
    return lambda cast: all(word in cast[key].refusal for word in words)


def succeeded(key: str) -> Claim:
    """Claim that a job did what it should."""
    return lambda cast: cast[key].has_state(JobState.SUCCEEDED)


def ran(key: str, pool: str, terms: QuotaClass, agreement: str | None = None) -> Claim:
    """Claim that a job's first run was in a pool, on these terms."""

    def holds(cast: Cast) -> bool:
        first = next(iter(cast[key].runs), None)
        if first is None:
            return False
        return (first.pool, first.quota_class, first.agreement) == (pool, terms, agreement)

    return holds


def went_through(key: str, *events: str) -> Claim:
    """Claim that a job's history holds these events, in this order, among others."""

    def holds(cast: Cast) -> bool:
        history = iter(cast[key].events)
        return all(event in history for event in events)

    return holds


def both(*claims: Claim) -> Claim:
    """Claim all of these."""
    return lambda cast: all(claim(cast) for claim in claims)


def everything_ended(cast: Cast) -> bool:
    """Claim that no part of the story still waits or runs."""
    return all(seen.has_ended() for seen in cast.values())


IN_QUOTA, BORROWED = QuotaClass.IN_QUOTA, QuotaClass.BORROWED
_SHORT = {"time_limit": "10m"}

OWN = Part(
    "own-team",
    "dana",
    "a team's job starts on the team's own GPUs, in quota",
    "python evaluate.py --seconds 25 --rest 2",
    {"gpus_per_node": "8", **_SHORT},
)
SPILL = Part(
    "spill-over",
    "dana",
    "the team is full, so the next job goes to the national hub, in quota",
    "python sweep.py --seconds 5",
    {"gpus_per_node": "8", **_SHORT},
)
PATIENT = Part(
    "controlled",
    "dana",
    "controlled data stays with the team, so this job waits for its GPUs",
    "python word_statistics.py",
    {"gpus_per_node": "4", "tier": "team", "label": "controlled", **_SHORT},
    Door.API,
)
GUEST = Part(
    "guest",
    "alex",
    "an academic uses the DoD team's idle GPUs, under agreement arl-lends-academia",
    "python deduplicate.py",
    {"gpus_per_node": "4", "tier": "team", **_SHORT},
    Door.API,
)
BORROWER = Part(
    "borrower",
    "iris",
    "industry trains on the university's idle GPUs, under state-u-lends-industry",
    "python train_digits.py --epochs 40 --seconds-per-epoch 0.8",
    {"gpus_per_node": "8", "tier": "institution", "time_limit": "15m"},
)
OWNER = Part(
    "owner-gang",
    "alex",
    "the university wants both its nodes: the borrower is recalled, a gang of two trains",
    "python train_digits.py --epochs 12",
    {"nodes": "2", "gpus_per_node": "8", "tier": "institution", **_SHORT},
)
ALEX_SPILL = Part(
    "institution-full",
    "alex",
    "the institution is full, so its next job goes to the national hub, in quota",
    "python evaluate.py --seconds 30 --rest 2",
    {"gpus_per_node": "8", **_SHORT},
    Door.API,
)
BEYOND = Part(
    "beyond-nominal",
    "iris",
    "industry takes 16 GPUs at the national hub, 8 beyond its guaranteed 8: borrowed",
    "python sweep.py --seconds 15 --rest 1",
    {"nodes": "2", "gpus_per_node": "8", "tier": "national", **_SHORT},
)
GANG = Part(
    "big-gang",
    "dana",
    "a gang of three nodes, of which one is free: it waits whole, and starts whole",
    "python train_digits.py --epochs 6",
    {"nodes": "3", "gpus_per_node": "8", "tier": "national", **_SHORT},
)
SMALL_ONE = Part(
    "team-small",
    "dana",
    "small work goes on at the team meanwhile",
    "python deduplicate.py --documents 300",
    {"gpus_per_node": "2", "tier": "team", "priority": "high", **_SHORT},
    Door.API,
)
SMALL_TWO = Part(
    "team-words",
    "dana",
    "and so does this, by Ray's own command",
    "python word_statistics.py",
    {"gpus_per_node": "2", "tier": "team", **_SHORT},
)
FORBIDDEN = Part(
    "bad-label",
    "alex",
    "a label that its submitter may not handle is refused",
    "python word_statistics.py",
    {"gpus_per_node": "1", "label": "controlled"},
    Door.API,
)
UNKNOWN = Part(
    "bad-model",
    "iris",
    "a GPU model that no pool has is refused, in the words that Ray's client prints",
    "python word_statistics.py",
    {"gpus_per_node": "8", "gpu_models": "B200"},
)

STORY = (
    Scene("dana's team has 8 GPUs. Her first job takes them all.", (OWN,), leased(OWN.key)),
    Scene(
        "Her next goes up a tier; controlled data may not; alex asks to be a guest.",
        (SPILL, PATIENT, GUEST),
        both(leased(SPILL.key), waited(PATIENT.key), waited(GUEST.key)),
    ),
    Scene(
        "iris borrows a node of the university's. Two asks that cannot be are refused.",
        (BORROWER, FORBIDDEN, UNKNOWN),
        both(printed(BORROWER.key, "epoch   3"), refused(FORBIDDEN.key), refused(UNKNOWN.key)),
    ),
    Scene(
        "alex, who owns those GPUs, wants both nodes: iris has 10 s to save her work.",
        (OWNER,),
        both(running(OWNER.key), went_through(BORROWER.key, "recalled", "requeued")),
    ),
    Scene(
        "His next job finds the institution full. iris goes beyond her quota nationally.",
        (ALEX_SPILL, BEYOND),
        both(leased(ALEX_SPILL.key), leased(BEYOND.key)),
    ),
    Scene(
        "dana wants three whole nodes there, and one is free. The team does small things.",
        (GANG, SMALL_ONE, SMALL_TWO),
        both(waited(GANG.key), everything_ended),
    ),
)

EXPECTED: tuple[tuple[str, Claim], ...] = (
    ("a team's job starts on its own tier, in quota", ran(OWN.key, "arl-team", IN_QUOTA)),
    ("the next spills over to the national tier", ran(SPILL.key, "national-hub", IN_QUOTA)),
    (
        "controlled data waits for the team, with the reason, then runs there",
        both(waited(PATIENT.key), ran(PATIENT.key, "arl-team", IN_QUOTA), succeeded(PATIENT.key)),
    ),
    (
        "the team lends to academia under its agreement",
        both(ran(GUEST.key, "arl-team", BORROWED, "arl-lends-academia"), succeeded(GUEST.key)),
    ),
    (
        "the institution lends to industry under its agreement",
        ran(BORROWER.key, "state-u-hpc", BORROWED, "state-u-lends-industry"),
    ),
    (
        "the owner recalls: checkpoint, requeue",
        both(
            went_through(BORROWER.key, "leased", "recalled", "preempted", "requeued", "leased"),
            printed(BORROWER.key, "asked to leave: saved"),
        ),
    ),
    (
        "the recalled job resumes from its checkpoint and ends well",
        both(printed(BORROWER.key, "resumed from the checkpoint"), succeeded(BORROWER.key)),
    ),
    (
        "a gang trains on two leased nodes of a cluster of its own",
        both(
            ran(OWNER.key, "state-u-hpc", IN_QUOTA),
            printed(OWNER.key, "in 2 shards on state-u-1"),
            succeeded(OWNER.key),
        ),
    ),
    (
        "a full institution spills over to the national tier",
        both(ran(ALEX_SPILL.key, "national-hub", IN_QUOTA), succeeded(ALEX_SPILL.key)),
    ),
    (
        "an account borrows beyond its nominal",
        both(ran(BEYOND.key, "national-hub", BORROWED), succeeded(BEYOND.key)),
    ),
    (
        "a gang that cannot start now is held with the reason, and starts later",
        both(waited(GANG.key), ran(GANG.key, "national-hub", BORROWED), succeeded(GANG.key)),
    ),
    ("a label that alex may not handle is refused", refused(FORBIDDEN.key, "controlled")),
    ("a GPU model that nobody has is refused", refused(UNKNOWN.key, "B200")),
    (
        "all others did their work",
        both(*(succeeded(p.key) for p in (OWN, SPILL, SMALL_ONE, SMALL_TWO))),
    ),
)
