"""What every way of carrying out a run can do, and the words in which it tells.

`tests/agents/test_backends.py` holds all of them to it. A backend keeps nothing that it
needs after a restart anywhere but in the run's record.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from agents.site.outcome import ProgramEnd
from agents.site.records import Ledger, RunRecord


@dataclass(frozen=True, slots=True)
class Waiting:
    """The engine has the run and has not started its program."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """The program runs."""

    driver_job_id: str | None = None
    driver_node: str | None = None


@dataclass(frozen=True, slots=True)
class Silent:
    """The engine does not answer, or its answer cannot be trusted."""

    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The run is lost, for certain; what is left of it must be fenced."""

    why: str


Observation = Waiting | Running | ProgramEnd | Silent | Gone


class Backend(Protocol):
    """One way of carrying out runs."""

    async def start(self, ledger: Ledger) -> None:
        """Bring a run to `submitted` from wherever its record stands: prepare, submit or adopt.

        Raises:
            BackendUnavailable: call again later; the record says how far it got.
            BackendRejected: the run can never start.
            RunGone: what had been started is gone.
        """
        ...

    async def observe(self, record: RunRecord) -> Observation:
        """Look at a submitted run; never raises for what an engine can do."""
        ...

    async def stop(self, ledger: Ledger) -> ProgramEnd | None:
        """End the program now, with a short time to leave; None: the engine gave no result."""
        ...

    async def fence(self, record: RunRecord) -> bool:
        """Make sure that no process of the run is left; False: cannot be sure, try again."""
        ...

    def follow(
        self, record: RunRecord, have: int, over: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        """Yield the log from byte `have` on, as it grows; end when it is whole.

        `over` is set once the program has ended.

        Raises:
            BackendUnavailable: call again with what there is by then.
        """
        ...

    async def forget(self, record: RunRecord) -> None:
        """Remove what the engine keeps of a run that is over and fenced."""
        ...

    async def version(self) -> str | None:
        """Return the Ray version of the engine, or None where that is unknown."""
        ...
