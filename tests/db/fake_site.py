"""A site agent that is careless with messages and careful with runs, for random histories."""

from dataclasses import dataclass, field
from datetime import datetime

from scheduler.core.model import RunState, StopReason
from scheduler.wire.sites import DesiredLease, ObservedRun, SiteSync, Wanted

_NEVER_STARTED = {
    StopReason.RECALLED: RunState.PREEMPTED,
    StopReason.BIND_EXPIRED: RunState.LOST,
    StopReason.TIME_LIMIT: RunState.FAILED,
    StopReason.CANCELLED: RunState.STOPPED,
}


@dataclass
class Record:
    """One run at the site. `alive`: it has processes on its GPUs."""

    lease: DesiredLease
    state: RunState = RunState.STARTING
    started_at: datetime | None = None
    fenced: bool = False

    @property
    def alive(self) -> bool:
        return not self.fenced


@dataclass
class FakeSite:
    """Records by run, and every message that was ever sent, to be delivered again."""

    records: dict[str, Record] = field(default_factory=dict)
    sent: list[SiteSync] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)

    def obey(self, leases: tuple[DesiredLease, ...], now: datetime) -> None:
        """Take in orders as the real agent does."""
        wanted = {lease.run: lease for lease in leases}
        for run in [run for run in self.records if run not in wanted]:
            self._unlisted(run)
        for run, lease in wanted.items():
            if run in self.records:
                self._renew(self.records[run], lease)
            elif lease.wanted is not Wanted.FORGET and run not in self.forgotten:
                self._begin(lease, now)

    def _unlisted(self, run: str) -> None:
        # The hub does not know it: it is ended at once, and forgotten at the next look.
        record = self.records[run]
        if record.fenced:
            self._forget(run)
        record.state, record.fenced = RunState.STOPPED, True

    def _forget(self, run: str) -> None:
        del self.records[run]
        self.forgotten.add(run)

    def _renew(self, record: Record, lease: DesiredLease) -> None:
        record.lease = lease
        if lease.wanted is Wanted.FORGET:
            self._forget(lease.run)

    def _begin(self, lease: DesiredLease, now: datetime) -> None:
        if lease.wanted is Wanted.STOP:
            ended = _NEVER_STARTED[lease.stop_reason or StopReason.CANCELLED]
            self.records[lease.run] = Record(lease, ended, fenced=True)
        elif now < lease.bind_by:
            self.records[lease.run] = Record(lease)
            self.begun.append(lease.run)
        else:
            self.records[lease.run] = Record(lease, RunState.LOST, fenced=True)

    def move(self, index: int, now: datetime, *, well: bool) -> None:
        """Let one run take its next step."""
        alive = [record for record in self.records.values() if record.alive]
        if not alive:
            return
        record = alive[index % len(alive)]
        if record.state.is_terminal:
            record.fenced = True
        elif record.lease.wanted is Wanted.STOP and not well:
            record.state = _NEVER_STARTED[record.lease.stop_reason or StopReason.CANCELLED]
        elif record.state is RunState.STARTING:
            record.state, record.started_at = RunState.RUNNING, now
        else:
            record.state = RunState.SUCCEEDED if well else RunState.FAILED

    def message(self, now: datetime) -> SiteSync:
        """Compose the next message, and keep it."""
        runs = tuple(
            ObservedRun(
                run=run,
                token=record.lease.token,
                state=record.state,
                observed_at=now,
                started_at=record.started_at,
                fenced=record.fenced,
            )
            for run, record in sorted(self.records.items())
        )
        self.sent.append(SiteSync(instance="agent", sequence=len(self.sent), runs=runs))
        return self.sent[-1]

    def older(self, index: int) -> SiteSync | None:
        """Return a message that was sent before: the network held it back."""
        return self.sent[index % len(self.sent)] if self.sent else None

    def foreign(self, index: int) -> SiteSync | None:
        """Return an older message as an agent of before a restart would have sent it."""
        old = self.older(index)
        return None if old is None else old.model_copy(update={"instance": "agent-before"})

    def occupied(self, guest: bool | None = None) -> list[tuple[str, int]]:
        """Return every GPU as often as a live run is on it: a guest, or none, where asked."""
        return [
            (node.node, gpu)
            for record in self.records.values()
            if record.alive and guest in (None, record.lease.guest)
            for node in record.lease.nodes
            for gpu in node.gpus
        ]
