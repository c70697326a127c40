"""Runs that end after a stated time and do nothing: for tests and for demonstrations at scale.

The time is in the job's metadata, `commonpool.simulated_seconds` (default 5), or in the
variable `COMMONPOOL_SIMULATED_SECONDS` of its runtime_env. A run that is asked to
checkpoint acknowledges at once and leaves.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from agents.site.backends.base import Observation, Running
from agents.site.failures import BackendRejected
from agents.site.outcome import CHECKPOINTED_EXIT_CODE, ProgramEnd
from agents.site.records import Ledger, Phase, RunRecord
from scheduler.clock import Clock
from scheduler.core.model import RunState
from scheduler.wire.sites import DesiredLease

METADATA_KEY = "commonpool.simulated_seconds"
VARIABLE = "COMMONPOOL_SIMULATED_SECONDS"
_DEFAULT_SECONDS = 5.0


class Simulated:
    """Runs by the clock alone. A record says all there is, so a restart loses nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def start(self, ledger: Ledger) -> None:
        """Note the start; refuse a time that is none."""
        if ledger.record.phase is not Phase.SUBMITTED:
            _seconds(ledger.record.lease)
            ledger.write(phase=Phase.SUBMITTED, submitted_at=self._clock.now())

    async def observe(self, record: RunRecord) -> Observation:
        """Say whether the time is up."""
        if record.signalled_at is not None:
            return ProgramEnd(RunState.FAILED, "left when asked to", None, CHECKPOINTED_EXIT_CODE)
        if self._clock.now() >= _ends_at(record):
            return ProgramEnd(RunState.SUCCEEDED, "the simulated time is over", None, 0)
        return Running()

    async def stop(self, ledger: Ledger) -> ProgramEnd | None:
        """End it; nothing runs."""
        record = ledger.record
        if record.phase is Phase.SUBMITTED and self._clock.now() >= _ends_at(record):
            return ProgramEnd(RunState.SUCCEEDED, "the simulated time is over", None, 0)
        return ProgramEnd(RunState.STOPPED)

    async def fence(self, record: RunRecord) -> bool:
        """Be sure at once: there never was a process."""
        del record
        return True

    async def follow(
        self, record: RunRecord, have: int, over: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Yield a line at the start and one at the end."""
        where = ", ".join(f"{n.node} {list(n.gpus)}" for n in record.lease.nodes)
        text = f"[simulated] {record.lease.entrypoint}\n[simulated] on {where}\n".encode()
        if have < len(text):
            yield text[have:]
        await over.wait()
        last = b"[simulated] over\n"
        if have < len(text) + len(last):
            yield last[max(0, have - len(text)) :]

    async def forget(self, record: RunRecord) -> None:
        """Keep nothing."""

    async def version(self) -> str | None:
        """Return None: there is no Ray."""
        return None


def _ends_at(record: RunRecord) -> datetime:
    begun = record.started_at or record.submitted_at or record.reserved_at
    return begun + timedelta(seconds=_seconds(record.lease))


def _seconds(lease: DesiredLease) -> float:
    variables = lease.runtime_env.get("env_vars")
    text = lease.metadata.get(METADATA_KEY)
    if text is None and isinstance(variables, dict):
        text = variables.get(VARIABLE)
    if text is None:
        return _DEFAULT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 366 * 86_400:
        raise BackendRejected(f"{METADATA_KEY} must be seconds from 0 to a year, not {text!r}")
    return seconds
