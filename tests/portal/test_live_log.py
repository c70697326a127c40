"""A log as it is written: no line lost or doubled, nothing held, and nothing for a stranger."""

import asyncio
import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware

from portal.config import PortalSettings
from portal.gate.gate import COOKIE, Gate, Sessions, session_secret
from portal.live.follow import MOST_BEHIND_BYTES, Follower
from portal.live.reader import PIECE_BYTES, Away, Denied
from portal.live.routes import LiveLogs
from portal.live.seats import Full, Seated, Seats
from scheduler.clock import SystemClock
from scheduler.core.lifecycle import JobState
from scheduler.wire.jobs import LogPage
from tests.portal.refusals import Refuse

RUNNING, ENDED = "jdigits0001", "jended00001"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Noon:
    """A clock that stands."""

    def now(self):
        return NOON

    def monotonic(self):
        return 0.0


@dataclass
class Written:
    """A log that grows between two questions, by `steps`; an exception in them is raised."""

    steps: list
    piece: int = PIECE_BYTES
    said: bytes = b""
    state: JobState = JobState.RUNNING
    asked: list = field(default_factory=list)

    async def page(self, offset, wait_seconds=0, known=None):
        del wait_seconds, known
        self.asked.append(offset)
        if self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            self.said += step
        else:
            self.state = JobState.SUCCEEDED
        data = self.said[offset : offset + self.piece]
        following = offset + len(data)
        return LogPage(
            text=data.decode(errors="replace"),
            next_offset=following,
            complete=self.state.is_terminal and following >= len(self.said),
            size=len(self.said),
            state=self.state,
        )


async def at_once(_):
    await asyncio.sleep(0)


def parsed(raw):
    """Return events as a browser reads them: name, id, data."""
    found = []
    for block in raw.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        at = int(fields["id"]) if "id" in fields else None
        found.append((fields["event"], at, json.loads(fields["data"])))
    return found


async def followed(written, offset=0, most=10_000):
    follower = Follower(written, Noon(), at_once, offset)
    raw = b""
    async for each in follower.events(None):
        raw += each
        if raw.count(b"\n\n") >= most:
            break
    return parsed(raw)


def text_of(events):
    return "".join(data["text"] for name, _, data in events if name == "lines")


pieces = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=12)


@given(said=pieces, cut=st.integers(1, 40))
async def test_a_reader_that_comes_back_anywhere_reads_each_line_once(said, cut):
    whole = "".join(said)
    first = await followed(Written([one.encode() for one in said]), most=cut)
    ids = [at for name, at, _ in first if name == "lines"]
    rest = await followed(Written([whole.encode()]), offset=ids[-1] if ids else 0)
    assert text_of(first) + text_of(rest) == whole


async def test_it_ends_with_the_job_and_says_how():
    events = await followed(Written([b"one\n", b"two\n"]))
    assert text_of(events) == "one\ntwo\n"
    assert [data["state"] for name, _, data in events if name == "state"] == [
        "running",
        "succeeded",
    ]
    assert events[-1] == ("end", None, {"state": "succeeded"})


async def test_silence_is_told_as_a_sign_of_life():
    events = await followed(Written([b"one\n", b"", b"", b"two\n"]))
    assert [name for name, _, _ in events].count("beat") == 2


async def test_a_log_that_is_written_faster_than_it_is_read_is_skipped_forward():
    line = b"x" * 99 + b"\n"
    burst = line * (50 * 10**6 // len(line))
    written = Written([b"first\n", burst, b"last\n"])
    events = await followed(written)
    (passed,) = (data["bytes"] for name, _, data in events if name == "skipped")
    sent = len(text_of(events))
    assert sent <= MOST_BEHIND_BYTES
    # What was passed over and what was sent is all there is, but for the line that was cut.
    assert len(written.said) - len(line) <= passed + sent <= len(written.said)
    after = text_of(events).partition("first\n")[2]
    assert set(after.splitlines()) == {line.decode().strip(), "last"}


async def test_a_hub_that_goes_away_is_told_once_with_the_time_and_nothing_is_doubled():
    events = await followed(Written([b"one\n", Away(), Away(), b"two\n"]))
    names = [name for name, _, _ in events]
    assert names == ["state", "lines", "away", "beat", "back", "lines", "state", "end"]
    assert events[2][2] == {"since": NOON.isoformat()}
    assert text_of(events) == "one\ntwo\n"


async def test_a_session_that_ends_meanwhile_ends_the_stream_with_the_reason():
    events = await followed(Written([b"one\n", Denied(401, "This session was ended."), b"two\n"]))
    assert events[-1] == ("stop", None, {"status": 401, "why": "This session was ended."})
    assert text_of(events) == "one\n"


@pytest.fixture
async def door(hub_url):
    """The routes behind the gate, before the fake hub, as somebody or as nobody."""
    settings = PortalSettings(hub_url=hub_url)
    logs = LiveLogs(settings, SystemClock(), session_secret)
    async with httpx.AsyncClient(base_url=hub_url, trust_env=False) as asking:
        gate = Middleware(Gate, sessions=Sessions(asking, SystemClock()))
        app = Starlette(routes=logs.routes(), middleware=[gate])
        transport = httpx.ASGITransport(app)

        async def ask(who, path, method="GET", **headers):
            cookie = {"Cookie": f"{COOKIE}=cp_session_{who}"} if who else {}
            async with httpx.AsyncClient(transport=transport, base_url="http://portal") as http:
                return await http.request(method, path, headers=cookie | headers)

        yield ask
    await logs.aclose()


def end(hub, job=RUNNING):
    hub.change(job, state=JobState.SUCCEEDED)


async def test_whose_log_it_is_reads_it_to_its_end(door, hub):
    end(hub)
    answer = await door("dana", f"/live/jobs/{RUNNING}/log")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = parsed(answer.content)
    assert text_of(events) == hub.logs[RUNNING]
    assert events[-1][0] == "end"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [f"/live/jobs/{RUNNING}/log", f"/live/jobs/{RUNNING}/log.txt"])
async def test_a_stranger_gets_what_the_hub_says_and_not_a_line(door, path, method):
    foreign = await door("alex", path, method)
    absent = await door("alex", path.replace(RUNNING, "jabsent0001"), method)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content.replace(RUNNING.encode(), b"") == absent.content.replace(
        b"jabsent0001", b""
    )
    assert b"epoch" not in foreign.content


@pytest.mark.parametrize("path", [f"/live/jobs/{RUNNING}/log", f"/live/jobs/{RUNNING}/log.txt"])
async def test_who_is_not_signed_in_gets_401_and_no_page_to_sign_in(door, path):
    """A stream that is led elsewhere would say nothing to a browser."""
    for who in (None, "mallory"):
        answer = await door(who, path)
        assert answer.status_code == 401
        assert b"epoch" not in answer.content


async def test_a_header_that_names_somebody_opens_nothing(door):
    forged = {"X-CP-Sub": "dana", "X-CP-Session": "session-dana"}
    assert (await door(None, f"/live/jobs/{RUNNING}/log", **forged)).status_code == 401
    assert (await door("alex", f"/live/jobs/{RUNNING}/log", **forged)).status_code == 404


async def test_who_is_not_cleared_for_its_label_is_refused_as_by_the_hub(door, hub, monkeypatch):
    def refuse(user, key):
        raise Refuse(403, "Not allowed", f"{key} is labelled 'controlled', and {user} is not.")

    monkeypatch.setattr(hub, "own", refuse)
    answer = await door("dana", f"/live/jobs/{RUNNING}/log")
    assert (answer.status_code, b"controlled" in answer.content) == (403, True)


@pytest.mark.parametrize("header", ["Last-Event-ID", None])
async def test_it_goes_on_where_the_browser_says(door, hub, header):
    end(hub)
    first = "epoch 1: loss 2.000\n"
    path, sent = f"/live/jobs/{RUNNING}/log", {}
    if header:
        sent = {header: str(len(first))}
        path += "?after=3"  # the address is as old as the first connection
    else:
        path += f"?after={len(first)}"
    events = parsed((await door("dana", path, **sent)).content)
    assert first + text_of(events) == hub.logs[RUNNING]


@pytest.mark.parametrize("after", ["x", "-1", "1e3", "9" * 20, "٣"])
async def test_a_place_that_is_none_is_refused(door, after):
    answer = await door("dana", f"/live/jobs/{RUNNING}/log?after={after}")
    assert (answer.status_code, b"a number of bytes" in answer.content) == (400, True)


async def test_the_whole_log_is_a_file_of_all_its_pieces(door, hub):
    hub.logs[RUNNING] = "".join(f"{n:08}\n" for n in range(100_000))
    answer = await door("dana", f"/live/jobs/{RUNNING}/log.txt")
    assert answer.text == hub.logs[RUNNING]
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_reading_along_keeps_no_session_alive(door, hub, monkeypatch):
    end(hub)
    seen = []
    asked = httpx.AsyncClient.get

    async def watched(self, url, **options):
        seen.append(options["headers"].get("X-CP-Passive"))
        return await asked(self, url, **options)

    monkeypatch.setattr(httpx.AsyncClient, "get", watched)
    await door("dana", f"/live/jobs/{RUNNING}/log")
    assert seen
    assert set(seen) == {"1"}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=40))
def test_seats_are_as_many_as_were_taken_and_not_given_back(steps):
    seats, held = Seats(most=5, most_of_one=3), []
    for comes, person in steps:
        if comes:
            full = len(held) >= 5 or held.count(person) >= 3
            with pytest.raises(Full) if full else nullcontext():
                seats.take(person)
            held += [] if full else [person]
        elif person in held:
            held.remove(person)
            seats.leave(person)
        assert seats.taken == len(held)


async def test_one_person_does_not_take_all_seats():
    seats = Seats(most=400, most_of_one=2)
    seats.take("dana")
    seats.take("dana")
    with pytest.raises(Full, match="You follow 2 logs already") as no:
        seats.take("dana")
    assert no.value.status == 429
    seats.take("alex")


async def streamed(seats, send, receive):
    seats.take("dana")

    async def events():
        while True:
            yield b"event: beat\n\n"
            await asyncio.sleep(0)

    await Seated(seats, "dana", events(), {})({"type": "http"}, receive, send)


async def never():
    await asyncio.Event().wait()


async def test_a_reader_that_takes_nothing_for_long_loses_its_seat(monkeypatch):
    monkeypatch.setattr("portal.live.seats.STALLED_SECONDS", 0.01)
    seats = Seats()

    async def stalled(message):
        if message["type"] == "http.response.body":
            await never()

    await streamed(seats, stalled, never)
    assert seats.taken == 0


async def test_a_reader_that_hangs_up_gives_its_seat_back_at_once():
    seats, left = Seats(), asyncio.Event()

    async def send(message):
        if message["type"] == "http.response.body":
            left.set()

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async with asyncio.timeout(5):
        await streamed(seats, send, receive)
    assert seats.taken == 0
