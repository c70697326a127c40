"""What a run is told through its environment, and the files of the site that it is told of."""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from agents.marks import MARK, NODE_LABEL
from scheduler.wire.sites import DesiredLease

_HELPER = Path(__file__).parent / "helper"


class Signals:
    """The files by which a run is asked to checkpoint, and by which it answers.

    Ray's jobs cannot be signalled portably, so a file is the contract: `<run>` appears
    when the run should leave, and the run writes `<run>.done` when its state is safe.
    """

    def __init__(self, data: Path) -> None:
        self._signals = data.absolute() / "signals"
        self._checkpoints = data.absolute() / "checkpoints"
        self._signals.mkdir(parents=True, exist_ok=True)
        self._checkpoints.mkdir(parents=True, exist_ok=True)

    def file(self, run: str) -> Path:
        """Return the path that appears when the run is asked to checkpoint."""
        return self._signals / run

    def folder(self, job: str) -> Path:
        """Return the job's folder for checkpoints, kept from attempt to attempt."""
        folder = self._checkpoints / job
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def ask(self, run: str, why: str, leave_by: datetime | None) -> None:
        """Ask a run to checkpoint and leave."""
        text = json.dumps({"why": why, "leave_by": leave_by.isoformat() if leave_by else None})
        spare = self.file(run).with_suffix(".new")
        spare.write_text(text, encoding="utf-8")
        spare.replace(self.file(run))  # Whole or absent: a reader never sees half of it.

    def answered_at(self, run: str) -> datetime | None:
        """Return when the run last said that its state is safe."""
        try:
            written = self._answer(run).stat().st_mtime
        except FileNotFoundError:
            return None
        return datetime.fromtimestamp(written, UTC)

    def acknowledged(self, run: str) -> bool:
        """Return whether the run has checkpointed since it was asked to."""
        # To the nanosecond: rounded, an answer within the clock's tick would come before.
        try:
            return self._answer(run).stat().st_mtime_ns >= self.file(run).stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def clear(self, run: str) -> None:
        """Remove the files of a run that is over."""
        self.file(run).unlink(missing_ok=True)
        self._answer(run).unlink(missing_ok=True)

    def clear_checkpoints(self, job: str) -> None:
        """Remove the checkpoints of a job that needs no further attempt."""
        shutil.rmtree(self._checkpoints / job, ignore_errors=True)

    def prune(self, jobs: Collection[str], before: datetime) -> None:
        """Remove checkpoints that nobody has touched since `before`, of jobs without a run here."""
        for folder in self._checkpoints.iterdir():
            touched = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            if folder.name not in jobs and touched < before:
                shutil.rmtree(folder, ignore_errors=True)

    def _answer(self, run: str) -> Path:
        return self._signals / f"{run}.done"


def injected(lease: DesiredLease, signals: Signals) -> dict[str, str]:
    """Return the variables that a run's program finds, whichever backend runs it."""
    nodes = [
        {"node": n.node, "gpus": list(n.gpus), "ray_node_label": {NODE_LABEL: n.node}}
        for n in lease.nodes
    ]
    guest = {"COMMONPOOL_GUEST": "1"} if lease.guest else {}
    return {
        **guest,
        "COMMONPOOL_JOB": lease.job,
        "COMMONPOOL_ATTEMPT": str(lease.attempt),
        "COMMONPOOL_NODES": json.dumps(nodes, separators=(",", ":")),
        "COMMONPOOL_CHECKPOINT_FILE": str(signals.file(lease.run)),
        "COMMONPOOL_CHECKPOINT_DIR": str(signals.folder(lease.job)),
        # Last, because a process title is written over the first variables (setproctitle).
        MARK: lease.run,
    }


def runtime_env(
    lease: DesiredLease, signals: Signals, uris: Mapping[str, str]
) -> dict[str, object]:
    """Return the run's runtime_env as Ray gets it: our variables in, package names replaced.

    `uris` maps each package as the person's client named it to the name under which the
    agent delivered it. Our variables win: a run cannot pass for another one.
    """
    env = {key: _renamed(value, uris) for key, value in lease.runtime_env.items()}
    given = env.get("env_vars")
    variables = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
    path = [str(_HELPER), *variables.get("PYTHONPATH", "").split(os.pathsep)]
    variables["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    env["env_vars"] = {**variables, **injected(lease, signals)}
    return env


def _renamed(value: object, uris: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return uris.get(value, value)
    if isinstance(value, list):
        return [_renamed(item, uris) for item in value]
    return value
