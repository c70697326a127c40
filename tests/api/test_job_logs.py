"""Following a log: who waits for more is answered when there is some, and not before."""

import asyncio

import pytest

from tests.api.signing_in import signed_in, with_desk
from tests.api.test_jobs import append


def reading(house, who, job, **asked):
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    return asyncio.ensure_future(house.call(who, "GET", f"/v1/jobs/{job['id']}/log?{query}"))


@pytest.fixture
def asleep(monkeypatch):
    """Return a function after which somebody waits for a bell, in the middle of a question."""

    def watch(wake):
        waits, wait = asyncio.Event(), wake.wait

        async def watched(bell, seconds):
            waits.set()
            return await wait(bell, seconds)

        monkeypatch.setattr(wake, "wait", watched)
        return waits.wait

    return watch


async def test_who_waits_is_answered_with_what_comes(house, asleep):
    job, run = await house.running("dana")
    waits = asleep(house.hub.wake)
    reader = reading(house, "dana", job, wait=30, known="running")
    await waits()
    await append(house, run, 0, b"one\n")
    assert (await reader).json()["text"] == "one\n"


async def test_who_waits_is_answered_when_the_job_changes_its_state(house, asleep):
    job, run = await house.running("dana")
    waits = asleep(house.hub.wake)
    reader = reading(house, "dana", job, wait=30, known="running")
    await waits()
    await house.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")
    page = (await reader).json()
    assert (page["text"], page["state"]) == ("", "stopping")
    again = reading(house, "dana", job, wait=30, known="running")
    assert (await again).json()["state"] == "stopping"  # at once: it is news to this reader
    ended = house.observed(run, "stopped", fenced=True, log_bytes=0)
    await house.sync("national", ended, sequence=2)
    assert (await reading(house, "dana", job, wait=30, known="stopped")).json()["complete"] is True


async def test_a_wait_without_news_ends_with_an_empty_page(house, clock, asleep):
    job, _ = await house.running("dana")
    waits = asleep(house.hub.wake)
    reader = reading(house, "dana", job, wait=30, known="running")
    await waits()
    clock.later(31)
    house.hub.wake.ring(f"job:{job['id']}")
    assert (await reader).json() == {
        "text": "",
        "next_offset": 0,
        "complete": False,
        "size": 0,
        "state": "running",
    }


async def test_a_hub_that_stops_lets_its_readers_go(small, asleep):
    job, _ = await small.running("dana")
    waits = asleep(small.hub.wake)
    reader = reading(small, "dana", job, wait=30, known="running")
    await waits()
    small.hub.wake.stopping.set()
    small.hub.wake.ring(f"job:{job['id']}")
    assert (await reader).status_code == 200


async def test_a_stranger_waits_for_nothing_and_learns_nothing(small):
    job, run = await small.running("dana")
    await append(small, run, 0, b"secret\n")
    with_desk(small)
    alex = await signed_in(small, "alex")
    foreign = await alex.get(f"/v1/jobs/{job['id']}/log?wait=30")
    absent = await alex.get("/v1/jobs/jabsent00000/log?wait=30")
    assert foreign.status_code == absent.status_code == 404
    assert foreign.content.replace(job["id"].encode(), b"") == absent.content.replace(
        b"jabsent00000", b""
    )


@pytest.mark.parametrize("asked", ["wait=31", "wait=-1", "known=asleep", "wait=x"])
async def test_a_wait_that_makes_no_sense_is_refused_by_its_name(small, asked):
    job = await small.submit("dana")
    answer = await small.call("dana", "GET", f"/v1/jobs/{job['id']}/log?{asked}")
    assert answer.status_code == 422
    assert answer.json()["field"] == asked.partition("=")[0]
