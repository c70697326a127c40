"""Held-out traces: what the published ones are turned into, and mixes that were drawn by nobody.

The planner was looked at with two traces on three clusters; here are others that it was not.
Every change is made from a fixed seed, in memory: no data are copied into the repository.
"""

import csv
import gzip
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import cos, log, pi
from pathlib import Path

_DAY = 86_400.0
_HOUR = 3_600.0
_COLUMNS = ("job_id", "submit_s", "duration_s", "gpus", "nodes", "user", "tenant")


@dataclass(frozen=True, slots=True)
class Row:
    """One job; times in seconds. `nodes` is empty, and `user`, where they are not known."""

    submit: float
    duration: float
    gpus: int
    tenant: str
    user: str = ""
    nodes: str = ""


Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A trace and its cluster. `made` says in words how; `limits` are those of the simulator."""

    name: str
    made: str
    nodes: int
    gpus_per_node: int
    rows: Callable[[], Rows]
    limits: str = "exact"
    is_sacct: bool = False


def held_out(folder: Path) -> list[HeldOut]:
    """Return every trace; those that are made of published ones read them from the folder."""

    def philly() -> Rows:
        return published(folder / "philly-2017.csv.gz")

    def kalos() -> Rows:
        return published(folder / "kalos-2023.csv.gz")

    return [
        *_windows(philly, kalos),
        *_clusters(philly, kalos),
        *_changed(philly, kalos),
        *_drawn(),
    ]


def _windows(philly: Callable[[], Rows], kalos: Callable[[], Rows]) -> list[HeldOut]:
    parts = ("first", "middle", "last")
    found = [
        HeldOut(f"philly-{part}", f"philly, {part} third", 80, 8, _third(philly, n))
        for n, part in enumerate(parts)
    ]
    found += [
        HeldOut(f"philly-week-{n}", f"philly, week {n}", 80, 8, _week(philly, n)) for n in (2, 4, 6)
    ]
    found += [
        HeldOut(f"kalos-{part}", f"kalos, {part} third", 160, 8, _third(kalos, n))
        for n, part in enumerate(parts)
    ]
    found += [
        HeldOut(f"kalos-week-{n}", f"kalos, week {n}", 160, 8, _week(kalos, n)) for n in (4, 9)
    ]
    return found


def _clusters(philly: Callable[[], Rows], kalos: Callable[[], Rows]) -> list[HeldOut]:
    found = [
        HeldOut(f"philly-{nodes}x{gpus}", "philly, another cluster", nodes, gpus, philly)
        for nodes, gpus in ((60, 8), (70, 8), (100, 8), (120, 8), (160, 4), (40, 16))
    ]
    return [*found, HeldOut("kalos-220x8", "kalos, another cluster", 220, 8, kalos)]


def _changed(philly: Callable[[], Rows], kalos: Callable[[], Rows]) -> list[HeldOut]:
    return [
        HeldOut("philly-half", "philly, durations x 0.5", 40, 8, _longer(philly, 0.5)),
        HeldOut("philly-twice", "philly, durations x 2", 160, 8, _longer(philly, 2)),
        HeldOut("philly-gangs", "philly, jobs of 8 GPUs or more x 2", 128, 8, _larger(philly, 2)),
        HeldOut("philly-permuted", "philly, each tenant's jobs permuted", 80, 8, _permuted(philly)),
        HeldOut("philly-rotated", "philly, each tenant's weeks rotated", 80, 8, _rotated(philly)),
        HeldOut("philly-loose", "philly, middle, limits x 3", 80, 8, _third(philly, 1), "factor:3"),
        HeldOut("philly-users", "philly, 30 users a tenant", 80, 8, _with_users(philly)),
        HeldOut("kalos-half", "kalos, durations x 0.5", 130, 8, _longer(kalos, 0.5)),
        HeldOut("kalos-twice", "kalos, durations x 2", 302, 8, _longer(kalos, 2)),
        HeldOut("kalos-permuted", "kalos, each tenant's jobs permuted", 160, 8, _permuted(kalos)),
    ]


def _drawn() -> list[HeldOut]:
    mixed = Mix(seed=1, days=21, load=0.9)
    long = replace(mixed, seed=2, long_tenants=2, load=0.95)
    gangs = replace(mixed, seed=3, gang_part=0.15, load=0.85)
    users = replace(mixed, seed=4, users=20)
    small = replace(mixed, seed=5, nodes=16, days=42)
    over = replace(mixed, seed=6, load=1.15, days=14)
    return [
        HeldOut("mix", "drawn, 10 tenants, load 0.9", 64, 8, mixed.rows),
        HeldOut("mix-sacct", "the same as Slurm's export", 64, 8, mixed.rows, is_sacct=True),
        HeldOut("mix-long", "drawn, 2 tenants of long jobs, load 0.95", 64, 8, long.rows),
        HeldOut("mix-gangs", "drawn, 15 % gangs, load 0.85", 64, 8, gangs.rows),
        HeldOut("mix-users", "drawn, 20 users a tenant who differ, load 0.9", 64, 8, users.rows),
        HeldOut("mix-small", "drawn, 16 nodes, load 0.9", 16, 8, small.rows),
        HeldOut("mix-over", "drawn, load 1.15", 64, 8, over.rows),
    ]


def published(file: Path) -> Rows:
    """Return the jobs of a published trace."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        return [
            Row(
                float(row["submit_s"]),
                float(row["duration_s"]),
                int(row["gpus"]),
                row["tenant"],
                row["user"],
                row["nodes"],
            )
            for row in csv.DictReader(text)
        ]


def _third(whole: Callable[[], Rows], number: int) -> Callable[[], Rows]:
    def rows() -> Rows:
        found = whole()
        part = found[-1].submit / 3
        return _between(found, number * part, (number + 1) * part + 1)

    return rows


def _week(whole: Callable[[], Rows], number: int) -> Callable[[], Rows]:
    return lambda: _between(whole(), (number - 1) * 7 * _DAY, number * 7 * _DAY)


def _between(rows: Rows, since: float, until: float) -> Rows:
    return [replace(row, submit=row.submit - since) for row in rows if since <= row.submit < until]


def _longer(whole: Callable[[], Rows], factor: float) -> Callable[[], Rows]:
    return lambda: [replace(row, duration=row.duration * factor) for row in whole()]


def _larger(whole: Callable[[], Rows], factor: int) -> Callable[[], Rows]:
    return lambda: [
        replace(row, gpus=row.gpus * factor, nodes="") if row.gpus >= 8 else row for row in whole()
    ]


def _permuted(whole: Callable[[], Rows]) -> Callable[[], Rows]:
    """Let each tenant's jobs come in another order, at the times at which some came."""

    def rows() -> Rows:
        chance = random.Random(11)  # a fixed draw, no secret
        found: list[Row] = []
        for mine in _by_tenant(whole()):
            times = [row.submit for row in mine]
            chance.shuffle(times)
            found += [replace(row, submit=at) for row, at in zip(mine, times, strict=True)]
        return sorted(found, key=lambda row: row.submit)

    return rows


def _rotated(whole: Callable[[], Rows]) -> Callable[[], Rows]:
    """Let each tenant begin another number of weeks into the trace; the end goes to the front."""

    def rows() -> Rows:
        chance = random.Random(12)  # a fixed draw, no secret
        jobs = whole()
        weeks = int(jobs[-1].submit // (7 * _DAY)) + 1
        found: list[Row] = []
        for mine in _by_tenant(jobs):
            shift = chance.randrange(weeks) * 7 * _DAY
            found += [replace(r, submit=(r.submit + shift) % (weeks * 7 * _DAY)) for r in mine]
        first = min(row.submit for row in found)
        moved = (replace(row, submit=row.submit - first) for row in found)
        return sorted(moved, key=lambda row: row.submit)

    return rows


def _by_tenant(rows: Rows) -> Iterable[list[Row]]:
    tenants: dict[str, list[Row]] = {}
    for row in rows:
        tenants.setdefault(row.tenant, []).append(row)
    return (tenants[name] for name in sorted(tenants))


def _with_users(whole: Callable[[], Rows]) -> Callable[[], Rows]:
    """Name a user for each job, drawn: they tell nothing, and split what is known in thirty."""

    def rows() -> Rows:
        chance = random.Random(13)  # a fixed draw, no secret
        return [replace(row, user=f"{row.tenant}-{chance.randrange(30)}") for row in whole()]

    return rows


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix of tenants that resembles no published trace.

    Arrivals follow the hour of the day and the day of the week; durations are lognormal, with
    a median of each tenant's own (and each user's, where there are `users`); gangs take 2 nodes
    up to half of the cluster. `load` is the GPU time asked for, of all there is.
    """

    seed: int
    days: int
    load: float
    nodes: int = 64
    gpus_per_node: int = 8
    tenants: int = 10
    users: int = 0
    long_tenants: int = 0
    gang_part: float = 0.04

    def rows(self) -> Rows:
        """Draw jobs until they ask for so much GPU time."""
        chance = random.Random(self.seed)  # a fixed draw, no secret
        medians = [log(600 * 8 ** chance.uniform(0, 2)) for _ in range(self.tenants)]
        for long in range(self.long_tenants):
            medians[long] = log(12 * _HOUR)
        weights = [1 / (1 + rank) for rank in range(self.tenants)]
        budget = self.load * self.days * _DAY * self.nodes * self.gpus_per_node
        found: list[Row] = []
        while budget > 0:
            tenant = chance.choices(range(self.tenants), weights)[0]
            user = chance.randrange(self.users) if self.users else None
            # A person's jobs are alike: half of the spread is between people.
            own = 0.0 if user is None else random.Random(user * 1000 + tenant).gauss(0, 1.4)
            spread = 1.6 if user is None else 0.8
            duration = chance.lognormvariate(medians[tenant] + own, spread)
            row = Row(
                self._arrival(chance),
                round(min(max(duration, 10.0), 30 * _DAY), 3),
                self._gpus(chance),
                f"tenant-{tenant}",
                "" if user is None else f"user-{tenant}-{user}",
            )
            found.append(row)
            budget -= row.gpus * row.duration
        found.sort(key=lambda row: row.submit)
        return [replace(row, submit=round(row.submit - found[0].submit, 3)) for row in found]

    def _arrival(self, chance: random.Random) -> float:
        while True:
            at = chance.uniform(0, self.days * _DAY)
            busy = 0.55 - 0.45 * cos(2 * pi * (at / _DAY - 1 / 6))
            weekend = 0.4 if at // _DAY % 7 >= 5 else 1.0
            if chance.random() < busy * weekend:
                return at

    def _gpus(self, chance: random.Random) -> int:
        if chance.random() >= self.gang_part:
            return chance.choices((1, 2, 4, 8), (60, 15, 15, 10))[0]
        most = self.nodes // 2
        sizes = [2**power for power in range(1, most.bit_length()) if 2**power <= most]
        nodes = chance.choices(sizes, [1 / size for size in sizes])[0]
        return nodes * self.gpus_per_node


def write(trace: HeldOut, folder: Path) -> Path:
    """Write a trace as the file that the simulator is given; return its name."""
    file = folder / (f"{trace.name}.txt" if trace.is_sacct else f"{trace.name}.csv")
    with file.open("w", encoding="utf-8", newline="") as text:
        if trace.is_sacct:
            text.writelines(_sacct(trace.rows(), trace.gpus_per_node))
        else:
            writer = csv.writer(text)
            writer.writerow(_COLUMNS)
            writer.writerows(
                (f"j{n}", r.submit, r.duration, r.gpus, r.nodes, r.user, r.tenant)
                for n, r in enumerate(trace.rows(), 1)
            )
    return file


def _sacct(rows: Rows, gpus_per_node: int) -> Iterable[str]:
    yield "JobID|Account|Partition|Submit|ElapsedRaw|TimelimitRaw|AllocNodes|AllocTRES|State\n"
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number, row in enumerate(rows, 1):
        at = (begin + timedelta(seconds=round(row.submit))).isoformat()[:19]
        nodes = -(-row.gpus // gpus_per_node)
        seconds = max(1, round(row.duration))
        tres = f"billing={row.gpus},gres/gpu={row.gpus},node={nodes}"
        limit = -(-seconds // 60)
        yield f"{number}|{row.tenant}|gpu|{at}|{seconds}|{limit}|{nodes}|{tres}|COMPLETED\n"
