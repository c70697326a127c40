"""Carry one run through its life: start or adopt, watch, stop, fence, deliver the log.

Each run has at most one task at a time here, started and cancelled by the agent as
`reconcile` says. A task that dies is started again: the record says where it stood.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from agents.config import SiteSettings
from agents.hub import Backoff, Hub
from agents.site.backends.base import Backend, Gone, Observation, Running, Silent, Waiting
from agents.site.environment import Signals
from agents.site.failures import BackendRejected, BackendUnavailable, RunGone
from agents.site.logs import Follow, RunLog, Spool
from agents.site.outcome import Outcome, ProgramEnd, settle
from agents.site.records import Ledger, Phase, RecordStore, RunRecord
from scheduler.clock import Clock
from scheduler.core.model import Backend as BackendName
from scheduler.core.model import RunState

log = structlog.get_logger(__name__)

_EAGER_SECONDS = 0.2
_EAGER_FOR = timedelta(seconds=10)


class Carrier:
    """Carries the runs of one site. `tell` is called whenever a record has changed."""

    def __init__(
        self,
        settings: SiteSettings,
        hub: Hub,
        store: RecordStore,
        backends: Mapping[BackendName, Backend],
        clock: Clock,
        tell: Callable[[], None],
    ) -> None:
        self._settings, self._hub, self._store = settings, hub, store
        self._backends, self._clock, self._tell = backends, clock, tell
        self.signals = Signals(settings.data)
        self._logs: dict[str, RunLog] = {}
        self._tidied: set[str] = set()

    async def attend(self, run: str) -> None:
        """Bring a run to its engine, or find it there, and watch it until its program ends."""
        ledger = Ledger(self._store, run)
        backend = self._backend(ledger.record)
        try:
            await self._start(ledger, backend)
        except BackendRejected as rejected:
            outcome = Outcome(RunState.FAILED, rejected.message, rejected.error_type)
            self._end(ledger, outcome)
        except RunGone as gone:
            self._end(ledger, _lost(str(gone)))
        else:
            self._log_of(ledger.record).begin(self._follow(ledger, backend))
            await self._watch(ledger, backend)

    async def _start(self, ledger: Ledger, backend: Backend) -> None:
        backoff = Backoff(longest=10)
        while ledger.record.phase is not Phase.SUBMITTED:
            try:
                await backend.start(ledger)
            except BackendUnavailable as away:
                self._note_message(ledger, str(away))
                log.warning("run_not_started_yet", run_id=ledger.record.run, why=str(away))
                await backoff.pause()
        self._tell()

    async def _watch(self, ledger: Ledger, backend: Backend) -> None:
        silence = _Silence(self._settings)
        while True:
            seen = await backend.observe(ledger.record)
            self._note_checkpoint(ledger)
            judged = silence.judged(seen, self._clock.monotonic())
            if judged is not None and self._note(ledger, judged):
                return
            await asyncio.sleep(self._pause(ledger.record))

    def _pause(self, record: RunRecord) -> float:
        """Look often while something is about to happen: short runs should end when they end."""
        begun = record.started_at
        young = begun is None or self._clock.now() - begun < _EAGER_FOR
        eager = young or record.signalled_at is not None
        return (
            min(_EAGER_SECONDS, self._settings.poll_seconds)
            if eager
            else (self._settings.poll_seconds)
        )

    def _note(self, ledger: Ledger, seen: Observation) -> bool:
        """Write down what was seen, if it is news; return whether the run is over."""
        record = ledger.record
        match seen:
            case Waiting(message):
                self._note_message(ledger, message)
            case Running(driver_job_id, driver_node):
                news: dict[str, object] = {
                    "started_at": record.started_at or self._clock.now(),
                    "silent_since": None,
                    "driver_job_id": driver_job_id or record.driver_job_id,
                    "driver_node": driver_node or record.driver_node,
                    "message": "",
                }
                self._write(ledger, news)
            case ProgramEnd():
                acknowledged = self.signals.acknowledged(record.run)
                self._end(ledger, settle(seen, record, acknowledged=acknowledged))
            case Gone(why):
                self._end(ledger, _lost(why))
            case Silent(why):
                since = record.silent_since or self._clock.now()
                self._write(ledger, {"silent_since": since, "message": why})
        return ledger.record.is_over

    def _note_message(self, ledger: Ledger, message: str) -> None:
        self._write(ledger, {"message": message, "silent_since": None})

    def _note_checkpoint(self, ledger: Ledger) -> None:
        answered = self.signals.answered_at(ledger.record.run)
        if answered is not None:
            self._write(ledger, {"checkpointed_at": answered})

    def _write(self, ledger: Ledger, news: Mapping[str, object]) -> None:
        record = ledger.record
        if any(getattr(record, name) != value for name, value in news.items()):
            ledger.write(**news)
            self._tell()

    def _end(self, ledger: Ledger, outcome: Outcome) -> None:
        record = ledger.record
        ran = outcome.exit_code is not None or outcome.state is RunState.SUCCEEDED
        begun = record.started_at or (record.submitted_at if ran else None)
        ledger.write(
            phase=Phase.ENDED,
            outcome=outcome.state,
            message=outcome.message,
            error_type=outcome.error_type,
            exit_code=outcome.exit_code,
            started_at=begun,
            ended_at=self._clock.now(),
        )
        log.info("run_ended", run_id=record.run, outcome=str(outcome.state), why=outcome.message)
        self._tell()

    async def close(self, run: str) -> None:
        """Stop the program if it may be there, fence, and deliver the rest of the log."""
        ledger = Ledger(self._store, run)
        backend = self._backend(ledger.record)
        if _may_have_a_log(ledger.record):
            self._log_of(ledger.record).begin(self._follow(ledger, backend))
        if not ledger.record.is_over:
            end = await backend.stop(ledger)
            self._note_checkpoint(ledger)
            acknowledged = self.signals.acknowledged(run)
            self._end(ledger, settle(end, ledger.record, acknowledged=acknowledged))
        backoff = Backoff(longest=10)
        while not await backend.fence(ledger.record):
            log.warning("run_not_fenced_yet", run_id=run)
            await backoff.pause()
        await self._log_of(ledger.record).finish(self._settings.log_wait)
        ledger.write(phase=Phase.FENCED)
        log.info("run_fenced", run_id=run, outcome=str(ledger.record.outcome))
        self._tell()
        await self._tidy(ledger.record)  # After the telling: nobody waits for this.

    async def forget(self, record: RunRecord) -> None:
        """Remove what is kept here and at the engine of a run that the hub has settled."""
        run_log = self._logs.pop(record.run, None) or self._new_log(record)
        await run_log.close()
        run_log.spool.remove()
        self.signals.clear(record.run)
        if record.outcome is RunState.SUCCEEDED:
            self.signals.clear_checkpoints(record.lease.job)
        if record.run not in self._tidied:
            await self._tidy(record)
        self._tidied.discard(record.run)

    async def _tidy(self, record: RunRecord) -> None:
        """Remove what the engine keeps of a fenced run; what it cannot now stays there."""
        self._tidied.add(record.run)
        try:
            await self._backend(record).forget(record)
        except (BackendUnavailable, BackendRejected) as away:
            log.debug("engine_not_tidied", run_id=record.run, why=str(away))

    async def leave(self) -> None:
        """Stop following logs; the runs go on."""
        await asyncio.gather(*(run_log.close() for run_log in self._logs.values()))

    def log_bytes(self, run: str) -> int:
        """Return how much of a run's log was seen."""
        return self._logs[run].spool.size if run in self._logs else 0

    async def version(self) -> str | None:
        """Return the Ray version of the first engine that says one."""
        for backend in self._backends.values():
            try:
                if version := await backend.version():
                    return version
            except BackendUnavailable:
                continue
        return None

    def _backend(self, record: RunRecord) -> Backend:
        return self._backends[record.lease.backend]

    def _follow(self, ledger: Ledger, backend: Backend) -> Follow:
        def follow(have: int, over: asyncio.Event) -> AsyncGenerator[bytes, None]:
            return backend.follow(ledger.record, have, over)

        return follow

    def _log_of(self, record: RunRecord) -> RunLog:
        if record.run not in self._logs:
            self._logs[record.run] = self._new_log(record)
        return self._logs[record.run]

    def _new_log(self, record: RunRecord) -> RunLog:
        spool = Spool(_spool_file(self._settings.data, record.run), self._settings.max_log_bytes)
        deliver = partial(self._hub.append_log, self._settings.site, record.run)
        return RunLog(record.run, spool, deliver)


class _Silence:
    """Turns an engine's silence into «unknown» after a while, and into «lost» after a longer one.

    A moment without an answer changes nothing: it is as if nobody had looked.
    """

    def __init__(self, settings: SiteSettings) -> None:
        self._settings = settings
        self._since: float | None = None

    def judged(self, seen: Observation, now: float) -> Observation | None:
        if not isinstance(seen, Silent):
            self._since = None
            return seen
        self._since = now if self._since is None else self._since
        silent = now - self._since
        if silent >= self._settings.lost_after:
            return Gone(f"its Ray head has not answered for {silent:.0f} s: {seen.why}")
        return seen if silent >= self._settings.unknown_after else None


def _lost(why: str) -> Outcome:
    return Outcome(RunState.LOST, why, "COMMONPOOL_LOST")


def _may_have_a_log(record: RunRecord) -> bool:
    posted = record.phase in (Phase.SUBMITTING, Phase.SUBMITTED)
    return posted or record.submitted_at is not None


def _spool_file(data: Path, run: str) -> Path:
    return data / "logs" / f"{run}.log"
