"""What the fake hub's people see first, made of what else it tells."""

from collections import Counter
from typing import Annotated

from fastapi import Depends

from scheduler.core.approvals import RequestState
from scheduler.core.lifecycle import JobState
from scheduler.wire.overview import JobCount, Overview
from tests.portal import asked

COUNTED, ASKED = 50, 5


def serve(app, hub, caller):
    """Serve the overview."""

    @app.get("/v1/overview")
    def overview(user: Annotated[str, Depends(caller)], jobs: int = 20) -> Overview:
        me, mine = hub.me(user), hub.jobs_of(user)
        states = Counter(job.state for job in mine if not job.state.is_terminal)
        awaiting = asked.narrowed(hub, user, awaiting="me")
        return Overview(
            me=me,
            jobs=tuple(mine[:jobs]),
            counts=tuple(
                JobCount(
                    state=state, jobs=min(COUNTED, states[state]), more=states[state] > COUNTED
                )
                for state in JobState
                if states[state]
            ),
            awaiting=min(COUNTED, len(awaiting)),
            more_awaiting=len(awaiting) > COUNTED,
            asked=tuple(asked.narrowed(hub, user, who="me", state=RequestState.OPEN)[:ASKED]),
            pools=tuple(hub.pools),
        )
