"""What would another policy change, and for whom? By reading both, and by planning under both.

Reading tells which rows differ, field by field. Planning the same snapshot under each tells
what the next cycle would do otherwise: which jobs would start, or no longer, which runs
would be recalled, and whose verdict would be another one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum

from scheduler.core.decisions import Hold, Plan
from scheduler.core.explain import Reason, Verdict, sentence
from scheduler.core.model import AccountName, Job, JobId, RunId
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World


@dataclass(frozen=True, slots=True)
class RowChange:
    """One field of one row that differs; a whole row that came or went has no field.

    `account` is whom it is about, where it is about one.
    """

    section: str
    row: str
    field: str
    before: str
    after: str
    account: AccountName | None = None

    def sentence(self) -> str:
        """Return it in one line for people."""
        if not self.field:
            return f"{self.section}: {self.row} {'is new' if self.after else 'is gone'}"
        return f"{self.section}: {self.row}: {self.field} from {self.before} to {self.after}"


@dataclass(frozen=True, slots=True)
class JobChange:
    """What becomes of one waiting job in the next cycle: where it starts, else why not."""

    job: JobId
    user: str
    account: AccountName
    gpus: int
    before: str
    after: str
    starts_before: bool
    starts_after: bool

    def sentence(self) -> str:
        """Return it in one line for people."""
        who = f"{self.job} of {self.user} ({self.account}, {self.gpus} GPUs)"
        if self.starts_after and not self.starts_before:
            return f"{who} would start: {self.after} Before: {self.before}"
        if self.starts_before and not self.starts_after:
            return f"{who} would no longer start: {self.after}"
        if self.starts_before:
            return f"{who} would start elsewhere: {self.after} Before: {self.before}"
        return f"{who} would be told: {self.after} Before: {self.before}"


@dataclass(frozen=True, slots=True)
class RunChange:
    """A run that one of the policies would recall now, and the other would not."""

    run: RunId
    account: AccountName
    gpus: int
    recalled: bool

    def sentence(self) -> str:
        """Return it in one line for people."""
        how = "would be recalled" if self.recalled else "would no longer be recalled"
        return f"{self.run} ({self.account}, {self.gpus} GPUs) {how}"


@dataclass(frozen=True, slots=True)
class Differences:
    """All that differs. `jobs` and `runs` are empty where no state was planned."""

    rows: tuple[RowChange, ...]
    jobs: tuple[JobChange, ...] = ()
    runs: tuple[RunChange, ...] = ()
    planned: bool = False

    def by_account(self) -> Mapping[AccountName, tuple[int, int]]:
        """Return each account's GPUs that would start now: before and after."""
        gpus: dict[AccountName, tuple[int, int]] = {}
        for job in self.jobs:
            before, after = gpus.get(job.account, (0, 0))
            gpus[job.account] = (
                before + job.gpus * job.starts_before,
                after + job.gpus * job.starts_after,
            )
        return {name: pair for name, pair in sorted(gpus.items()) if pair[0] != pair[1]}


def differences(
    old: Policy, new: Policy, snapshot: Snapshot | None = None, now: datetime | None = None
) -> Differences:
    """Return what differs; with a snapshot and an instant, also what would be planned."""
    rows = tuple(_rows(old, new))
    if snapshot is None or now is None:
        return Differences(rows)
    before, after = (_Planned(policy, snapshot, now) for policy in (old, new))
    return Differences(
        rows,
        tuple(_jobs(snapshot, before, after)),
        tuple(_runs(snapshot, before.plan, after.plan)),
        planned=True,
    )


class _Planned:
    """The next cycle under one policy, and what it says of each waiting job."""

    def __init__(self, policy: Policy, snapshot: Snapshot, now: datetime) -> None:
        self.plan = plan(World(policy, snapshot), policy, now)
        self._policy = policy
        self.starts = {start.job: start for start in self.plan.starts}
        holds: Sequence[Hold] = tuple(self.plan.holds)
        self._own = {hold.job: hold for hold in holds if hold.job is not None}
        self._groups = {(hold.account, hold.shape): hold for hold in holds if hold.job is None}

    def verdicts(self, job: Job) -> tuple[Verdict, ...]:
        hold = self._own.get(job.id) or self._groups.get((job.account, job.shape))
        return () if hold is None else hold.verdicts

    def said(self, job: Job, other: "_Planned") -> str:
        """Return where a job starts, else the first of its verdicts that the other has not."""
        start = self.starts.get(job.id)
        if start is not None:
            return f"in {start.pool}, {start.quota_class.name.lower().replace('_', ' ')}."
        verdicts, known = self.verdicts(job), {_key(one) for one in other.verdicts(job)}
        told = next((one for one in verdicts if _key(one) not in known), None)
        told = told or next(iter(verdicts), None)
        return sentence(told, self._policy) if told else "it waits."

    def is_behind(self, job: Job) -> bool:
        """Return whether what holds an earlier job is all that is said of this one."""
        return any(one.reason is Reason.BEHIND for one in self.verdicts(job))

    def essence(self, job: Job) -> object:
        """Return what is compared: numbers in a verdict that move with others are left out."""
        start = self.starts.get(job.id)
        if start is not None:
            return (start.pool, start.quota_class)
        return tuple(sorted(map(_key, self.verdicts(job))))


def _key(verdict: Verdict) -> tuple[str, str]:
    return verdict.reason.value, verdict.pool or ""


def _jobs(snapshot: Snapshot, before: _Planned, after: _Planned) -> Iterable[JobChange]:
    for job in sorted(snapshot.jobs.values(), key=lambda job: (job.account, job.sequence, job.id)):
        if before.is_behind(job) and after.is_behind(job):
            continue  # what changes is told of the job that it waits behind
        if before.essence(job) != after.essence(job):
            yield JobChange(
                job=job.id,
                user=job.user,
                account=job.account,
                gpus=job.shape.gpus,
                before=before.said(job, after),
                after=after.said(job, before),
                starts_before=job.id in before.starts,
                starts_after=job.id in after.starts,
            )


def _runs(snapshot: Snapshot, before: Plan, after: Plan) -> Iterable[RunChange]:
    old, new = ({preempt.run for preempt in each.preempts} for each in (before, after))
    for name in sorted(old ^ new):
        run = snapshot.runs[name]
        yield RunChange(name, run.account, run.gpus, recalled=name in new)


_SECTIONS = (
    "users",
    "accounts",
    "sites",
    "pools",
    "quotas",
    "agreements",
    "labels",
    "budgets",
    "reservations",
    "hardware",
    "approvals",
    "thresholds",
    "crossings",
)


def _rows(old: Policy, new: Policy) -> Iterable[RowChange]:
    for section in _SECTIONS:
        before, after = (
            {_name(row): row for row in getattr(policy, section)} for policy in (old, new)
        )
        yield from _section(section, before, after)
    tiers = (({tier.value: rules for tier, rules in policy.tiers}) for policy in (old, new))
    yield from _section("tiers", *tiers)
    yield from _fields("rules", "all", old.rules, new.rules)


def _section(
    section: str, before: Mapping[str, object], after: Mapping[str, object]
) -> Iterable[RowChange]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            about = _about(new if old is None else old)
            yield RowChange(section, name, "", _there(old), _there(new), about)
        else:
            yield from _fields(section, name, old, new)


def _there(row: object) -> str:
    return "" if row is None else "there"


def _fields(section: str, name: str, old: object, new: object) -> Iterable[RowChange]:
    for field in fields(old):  # type: ignore[arg-type]  # every row of a policy is a dataclass
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield RowChange(section, name, field.name, _text(before), _text(after), _about(new))


def _name(row: object) -> str:
    """Return what a row goes by in its section."""
    if hasattr(row, "account") and hasattr(row, "nominal"):
        return f"{row.account} in {row.pool}"  # type: ignore[attr-defined]  # a quota
    if hasattr(row, "model"):
        return f"{row.model} from {row.valid_from:%Y-%m-%d}"  # type: ignore[attr-defined]
    return str(getattr(row, "id", None) or getattr(row, "name", ""))


def _about(row: object) -> AccountName | None:
    for field in ("account", "borrower", "owner"):
        found = getattr(row, field, None)
        if found is not None and not isinstance(found, Enum):
            return AccountName(str(found))
    return AccountName(str(row.name)) if hasattr(row, "parent") else None  # type: ignore[attr-defined]


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(str(getattr(one, "value", one)) for one in value)) or "none"
    if isinstance(value, timedelta | datetime):
        return str(value)
    if value is None or value == "":
        return "none"
    return str(getattr(value, "value", value))
