"""The tail socket of Ray's Jobs API: `ray job submit` and `ray job logs -f` hang on it.

Ray's client takes any clean close for the end of the job, and exits 0. So a close frame
is sent only after the job has ended and its log is whole; in every other case the TCP
connection is dropped without one, and the client says so and exits 1.

Who may read is asked again while the socket is open: it outlives no token, session or role.
"""

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scheduler.api.auth import Caller
from scheduler.api.cleared import check_is_cleared
from scheduler.api.deps import PASSIVE, HubState, current_user, hub_of
from scheduler.api.ray_jobs import absent
from scheduler.api.ray_jobs_tail import follow
from scheduler.db.jobs import find_job
from scheduler.db.rows import JobRow
from scheduler.errors import Refused, StorageUnavailable

log = structlog.get_logger()
router = APIRouter()
CHECK_SECONDS = 5.0
"""Who was let in may read for so long, and the seconds that callers are kept, without the right."""


class DroppingWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, without the close frames that it would send by itself.

    Hand it to uvicorn (`ws=DroppingWebSocket`): its own says 1012 at shutdown and 1011 to
    a client that was silent, and both look like success to Ray's client.
    """

    def shutdown(self) -> None:
        """Drop the connection: the hub stops, the job does not."""
        if self.close_sent or not self.handshake_complete:
            super().shutdown()
            return
        self.stop_keepalive()
        self.transport.abort()

    def keepalive_timeout(self) -> None:
        """Drop the connection of a client that answers no pings."""
        self.pong_timer = None
        self.transport.abort()


@router.websocket("/api/jobs/{job}/logs/tail")
async def tail(socket: WebSocket, user: Annotated[Caller, Depends(current_user)], job: str) -> None:
    """Send the job's log as it comes, and before that why it waits."""
    hub = hub_of(socket)
    # A refusal before the handshake is an answer over HTTP, as for one who is unknown.
    found = await _readable(hub, user, job)
    if found is None:
        await socket.send_denial_response(absent(job))
        return
    await socket.accept()
    if await _served(hub, socket, found.id):
        await socket.close(1000)
    # Else return without a close frame: uvicorn then drops the connection.


async def _readable(hub: HubState, user: Caller, job: str) -> JobRow | None:
    """Return a job whose log a caller may read; None where it is absent or another's.

    Raises:
        Refused: 403, they are not cleared for its label.
    """
    async with hub.db.reading() as conn:
        found = await find_job(conn, job, user.sees)
        policy = await hub.policies.current(conn)
    if found is not None:
        check_is_cleared(policy, user, found)
    return found


async def _served(hub: HubState, socket: WebSocket, job_id: str) -> bool:
    """Return whether all was sent; False when the reader left or the hub failed."""
    reader = asyncio.ensure_future(_leaves(socket))
    sender = asyncio.ensure_future(_send(hub, socket, job_id))
    denied = asyncio.ensure_future(_denied(hub, socket, job_id))
    try:
        await asyncio.wait({reader, sender, denied}, return_when=asyncio.FIRST_COMPLETED)
        if denied.done() and not sender.done():
            sender.cancel()
            await asyncio.wait({sender})
            await socket.send_text(f"\n[commonpool] not followed any more: {denied.result()}\n")
            return False
        return sender.done() and sender.result()
    except WebSocketDisconnect:
        return False
    except Exception:
        log.exception("tail_failed", job_id=job_id)
        return False
    finally:
        for task in (reader, sender, denied):
            task.cancel()
        await asyncio.gather(reader, sender, denied, return_exceptions=True)


async def _send(hub: HubState, socket: WebSocket, job_id: str) -> bool:
    async for frame in follow(hub, job_id):
        await socket.send_text(frame)
    return True


async def _denied(hub: HubState, socket: WebSocket, job_id: str) -> str:
    """Return why the reader may read no more, once that is so; a job that is gone ends by itself.

    Following is no act of theirs: it keeps no session alive.
    """
    headers = [*socket.scope["headers"], (PASSIVE.encode(), b"1")]
    asking = HTTPConnection({**socket.scope, "headers": headers})
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            if await _readable(hub, await current_user(asking), job_id) is None:
                return "You have no such job any more."
        except StorageUnavailable:
            continue
        except Refused as refused:
            return refused.detail


async def _leaves(socket: WebSocket) -> None:
    """Return when the reader is gone. What it says, if anything, is of no interest."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
