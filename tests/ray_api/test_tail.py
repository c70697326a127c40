"""The tail socket: what a person who follows a job is told, and how it ends."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from scheduler.api import ray_jobs_socket, ray_jobs_tail, whole_log
from scheduler.api.ray_jobs_tail import frames
from scheduler.db.personal_tokens import issue_personal
from scheduler.db.policies import save_policy
from scheduler.errors import StorageUnavailable
from scheduler.wire.identity import PersonalTokenRequest, Power
from tests.ray_api.live import POLICY
from tests.waiting import eventually


@pytest.fixture
def _heart_beats_fast(monkeypatch):
    monkeypatch.setattr(ray_jobs_tail, "HEARTBEAT_SECONDS", 0.2)


def ours(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("[commonpool] ")]


async def test_a_job_is_followed_from_the_queue_to_its_end(live, site):
    waiting = await live.submit(entrypoint="program", metadata={"commonpool.gpus_per_node": "8"})
    lease = await site.lease_of("program")
    reader = await live.tail(waiting)
    await reader.until("starting at site lab")
    await site.report(lease, "running")
    await site.log(lease, "hello\n")
    await reader.until("hello\n")
    await site.log(lease, "bye\n", offset=6)
    await site.report(lease, "succeeded", exit_code=0, log_bytes=10)
    text = await reader.rest()
    assert reader.socket.close_code == 1000
    assert text.endswith("hello\nbye\n")
    (line,) = ours(text)
    for words in ("site lab", "pool lab-pool", "institution tier", "8 GPUs on lab-1", "in quota"):
        assert words in line


async def test_while_it_waits_it_is_told_its_position_and_the_reason(live, site):
    big = {"commonpool.nodes": "2", "commonpool.gpus_per_node": "8"}
    first = await live.submit(entrypoint="first", metadata=big)
    await site.lease_of("first")
    second = await live.submit(entrypoint="second", metadata=big)
    reader = await live.tail(second)
    await reader.until("position 1 in lab-a")
    third = await live.submit(entrypoint="third", metadata=big)
    behind = await live.tail(third)
    await behind.until("position 2 in lab-a")
    assert (await live.details(third))["message"].startswith("queued: position 2 in lab-a; ")
    assert "lab-pool" in reader.text
    await live.call("dana", "POST", f"/api/jobs/{first}/stop")
    await site.report(await site.lease_of("first", wanted="stop"), "stopped")
    await reader.until("starting at site lab")
    await behind.until("position 1 in lab-a")
    await behind.socket.close()
    await reader.socket.close()


async def test_the_queues_line_comes_again_only_when_it_changed(live):
    job = await live.submit()
    reader = await live.tail(job)
    await reader.until("queued: ")
    await asyncio.sleep(2.5 * ray_jobs_tail.LOOK_SECONDS)  # what must not happen takes time
    await live.call("dana", "POST", f"/api/jobs/{job}/stop")
    lines = ours(await reader.rest())
    assert len([line for line in lines if "queued" in line]) == len(set(lines)) - 1


@pytest.mark.usefixtures("_heart_beats_fast")
async def test_a_reader_who_waits_long_gets_signs_of_life(live):
    reader = await live.tail(await live.submit())
    first = await reader.until("\n")
    await eventually_repeated(reader, first)


async def eventually_repeated(reader, line, times=3):
    async with asyncio.timeout(10):
        while reader.text.count("queued: ") < times:
            reader.frames.append(await reader.socket.recv())
    assert line in reader.text


async def test_stopping_a_waiting_job_ends_its_tail_with_the_reason(live):
    job = await live.submit()
    reader = await live.tail(job)
    await reader.until("queued: ")
    await live.call("dana", "POST", f"/api/jobs/{job}/stop")
    text = await reader.rest()
    assert reader.socket.close_code == 1000
    assert ours(text)[-1] == "[commonpool] stopped: cancelled by dana"


async def test_a_lost_attempt_and_its_requeue_are_told(live, site):
    job = await live.submit(entrypoint="program")
    reader = await live.tail(job)
    first = await site.lease_of("program")
    await site.log(first, "half a line")
    await site.report(first, "lost", message="node lab-1 is gone")
    await site.sync()
    await reader.until("attempt 1 ended: lost: node lab-1 is gone; back in the queue")
    assert "half a line\n[commonpool] " in reader.text
    second = await site.lease_of("program")
    await reader.until("starting at site lab", seconds=10)
    await site.log(second, "again\n")
    await site.report(second, "succeeded", exit_code=0)
    text = await reader.rest()
    assert text.count("starting at site lab") == 2
    assert text.endswith("again\n")


async def test_who_comes_late_is_told_everything_from_the_start(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    await site.log(lease, "one\ntwo\n")
    await site.report(lease, "failed", exit_code=2, message="exited with code 2")
    reader = await live.tail(job)
    text = await reader.rest()
    assert reader.socket.close_code == 1000
    assert text.endswith("one\ntwo\n")


async def test_a_failure_without_an_exit_code_is_told(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    await site.report(lease, "failed", message="the package could not\nbe unpacked")
    text = await (await live.tail(job)).rest()
    assert ours(text)[-1] == "[commonpool] attempt 1 ended: failed: the package could not"


async def test_the_socket_stays_open_until_the_log_is_whole(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    reader = await live.tail(job)
    await site.log(lease, "first\n")
    await site.report(lease, "succeeded", exit_code=0, log_bytes=11)
    await live.until_status(job, "SUCCEEDED")
    await reader.until("first\n")
    with pytest.raises(TimeoutError):
        await reader.rest(seconds=1.5)
    await site.log(lease, "last\n", offset=6)
    assert (await reader.rest()).endswith("first\nlast\n")
    assert reader.socket.close_code == 1000


async def test_a_log_that_never_comes_holds_its_reader_for_a_while_only(live, site, monkeypatch):
    monkeypatch.setattr(whole_log, "LOG_GRACE", timedelta(seconds=0.5))
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    await site.report(lease, "succeeded", exit_code=0, log_bytes=11)
    reader = await live.tail(job)
    await reader.rest()
    assert reader.socket.close_code == 1000


async def test_a_character_in_two_pieces_arrives_whole(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    reader = await live.tail(job)
    euro = "€".encode()
    await site.log(lease, b"a" + euro[:2])
    await reader.until("a")
    await site.log(lease, euro[2:] + b"\xff\n", offset=3)
    await site.report(lease, "succeeded", exit_code=0, log_bytes=6)
    assert (await reader.rest()).endswith("a€\ufffd\n")


async def test_a_long_log_comes_in_frames_of_rays_size(live, site):
    job = await live.submit(entrypoint="program")
    lease = await site.lease_of("program")
    text = "".join(f"line {number}\n" for number in range(5000)) + "x" * 70_000 + "\n"
    assert await site.log(lease, text) == len(text)
    await site.report(lease, "succeeded", exit_code=0, log_bytes=len(text))
    reader = await live.tail(job)
    told = await reader.rest()
    assert told.endswith(text)
    assert max(map(len, reader.frames)) <= 20_000
    assert max(frame.count("\n") for frame in reader.frames) <= 10


async def test_a_reader_who_leaves_is_let_go(live):
    job = await live.submit()
    reader = await live.tail(job)
    await reader.until("queued: ")
    tasks = len(live.server.server_state.tasks)
    assert tasks == 1
    reader.socket.transport.abort()
    await eventually(lambda: not live.server.server_state.tasks)


async def test_when_the_hub_stops_the_connection_drops_without_a_close_frame(live):
    reader = await live.tail(await live.submit())
    await reader.until("queued: ")
    live.server.should_exit = True
    with pytest.raises(Exception, match="no close frame"):
        await reader.until("never", seconds=10)
    assert reader.socket.close_code == 1006


async def test_a_failure_within_the_tail_drops_the_connection_too(live, monkeypatch):
    job = await live.submit()

    async def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(ray_jobs_tail, "look", broken)
    reader = await live.tail(job)
    with pytest.raises(Exception, match="no close frame"):
        await reader.until("never", seconds=10)
    assert reader.socket.close_code == 1006


async def test_while_storage_is_away_the_reader_waits(live, monkeypatch):
    job = await live.submit()
    real, failures = ray_jobs_tail.look, []

    async def flaky(*args: object) -> object:
        if len(failures) < 2:
            failures.append(1)
            raise StorageUnavailable("gone for a moment")
        return await real(*args)

    monkeypatch.setattr(ray_jobs_tail, "look", flaky)
    reader = await live.tail(job)
    await reader.until("queued: ")
    assert len(failures) == 2
    await reader.socket.close()


@pytest.mark.parametrize(
    ("who", "job", "status"),
    [("lab-node", "x", 403), ("dana", "x", 404), ("dana", "theirs", 404), (None, "x", 401)],
)
async def test_who_may_not_read_is_told_before_the_socket_opens(live, who, job, status):
    await live.submit("alex", submission_id="theirs")
    headers = await live.headers(who) if who else {}
    address = live.url.replace("http", "ws", 1) + f"/api/jobs/{job}/logs/tail"
    with pytest.raises(InvalidStatus) as caught:
        await connect(address, additional_headers=headers, compression=None)
    response = caught.value.response
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/plain")
    if status == 404:
        assert response.body == f"Job {job} does not exist".encode()


async def test_whoever_is_not_cleared_for_a_jobs_label_follows_nothing_of_it(live):
    """An auditor sees everybody's jobs; what they print is of their label (R14)."""
    job = await live.submit()
    state, request = live.hub.state, PersonalTokenRequest(name="t", powers=(Power.MANAGE,))
    async with state.db.transaction() as conn:
        token = await issue_personal(conn, "audra", request, state.clock.now())
    headers = {"Authorization": f"Bearer {token.token}"}
    assert (await live.http.get(f"/api/jobs/{job}", headers=headers)).status_code == 200
    address = live.url.replace("http", "ws", 1) + f"/api/jobs/{job}/logs/tail"
    with pytest.raises(InvalidStatus) as caught:
        await connect(address, additional_headers=headers, compression=None)
    assert caught.value.response.status_code == 403
    assert b"public" in caught.value.response.body


async def revoked(live, token_id):
    answer = await live.call("admin", "DELETE", f"/v1/personal-tokens/{token_id}")
    assert answer.status_code == 204, answer.text


async def no_label(live, _):
    state = live.hub.state
    without = POLICY.replace("{name: audra, labels: [public]}", "{name: audra, labels: []}")
    async with state.db.transaction() as conn:
        await save_policy(conn, without, state.clock.now(), "admin")


@pytest.mark.parametrize(
    ("loses", "words"),
    [
        pytest.param(revoked, "was revoked", id="the token"),
        pytest.param(no_label, "which you are not cleared for", id="the clearance"),
    ],
)
async def test_whoever_loses_the_right_to_read_follows_no_longer(live, monkeypatch, loses, words):
    monkeypatch.setattr(ray_jobs_socket, "CHECK_SECONDS", 0.1)
    job, state = await live.submit(), live.hub.state
    cleared = POLICY.replace("{name: audra, labels: []}", "{name: audra, labels: [public]}")
    request = PersonalTokenRequest(name="t", powers=(Power.MANAGE,))
    async with state.db.transaction() as conn:
        await save_policy(conn, cleared, state.clock.now(), "admin")
        token = await issue_personal(conn, "audra", request, state.clock.now())
    live.tokens["audra"] = token.token
    reader = await live.tail(job, "audra")
    await reader.until("queued: ")
    await loses(live, token.id)
    with pytest.raises(Exception, match="no close frame"):
        await reader.until("never", seconds=10)
    assert reader.socket.close_code == 1006
    assert words in ours(reader.text)[-1]


@given(st.text(st.sampled_from("ab\n\r€"), max_size=400), st.integers(1, 60), st.integers(1, 5))
@settings(deadline=None)
def test_frames_join_to_the_text_and_none_is_too_large(text, characters, lines):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_jobs_tail, "CHARACTERS_PER_FRAME", characters)
        patch.setattr(ray_jobs_tail, "LINES_PER_FRAME", lines)
        cut = list(frames(text))
    assert "".join(cut) == text
    assert all(0 < len(frame) <= characters for frame in cut)
    assert all(frame.count("\n") <= lines for frame in cut)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-30, "in less than a minute"),
        (20, "in less than a minute"),
        (115, "in about 2 min"),
        (3600, "in about 60 min"),
        (4 * 3600, "in about 4 h"),
    ],
)
def test_a_planned_start_is_told_in_words(seconds, words):
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert words in ray_jobs_tail.in_words(now + timedelta(seconds=seconds), now)


def test_lines_of_ours_stand_on_lines_of_their_own():
    told = ray_jobs_tail.Told(at_line_start=False)
    assert told.line("two\nlines") == "\n[commonpool] two lines\n"
    assert told.line("next") == "[commonpool] next\n"
