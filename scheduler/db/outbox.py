"""What changed since the leader last looked, and what people are told about it.

Both are written in the transaction that changes the thing itself, so neither can be
true without the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.tables import job_events, outbox

Kind = Literal["job", "run", "node", "usage", "spent", "claim", "policy"]


@dataclass(frozen=True, slots=True)
class JobNote:
    """One line for a job's history: what happened, in one plain sentence."""

    job_id: str
    at: datetime
    event: str
    sentence: str
    run_id: str | None = None


async def note_changes(conn: AsyncConnection, changes: Iterable[tuple[Kind, str]]) -> None:
    """Tell the leader to look at these again. Telling it twice does no harm."""
    rows = [{"kind": kind, "key": key} for kind, key in dict.fromkeys(changes)]
    if rows:
        await conn.execute(insert(outbox), rows)


async def write_history(conn: AsyncConnection, notes: Sequence[JobNote]) -> None:
    """Append lines to jobs' histories."""
    if notes:
        await conn.execute(
            insert(job_events),
            [
                {
                    "job_id": note.job_id,
                    "at": note.at,
                    "event": note.event,
                    "run_id": note.run_id,
                    "sentence": note.sentence,
                }
                for note in notes
            ],
        )
