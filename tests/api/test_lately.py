"""Answers of the last moment: one look-up for all who ask, kept for as long as it is said to be."""

import asyncio

import pytest

from scheduler.api.lately import Lately
from tests.api.conftest import HandClock


class Looks:
    """Counts look-ups by question; each takes so many seconds of the clock."""

    def __init__(self, clock, seconds=1.0):
        self.clock, self.seconds, self.done = clock, seconds, []

    def of(self, question):
        async def look():
            await asyncio.sleep(0)
            self.clock.later(self.seconds)
            self.done.append(question)
            return len(self.done)

        return look


async def test_those_who_ask_at_once_share_one_look():
    clock = HandClock()
    lately, looks = Lately(clock, lambda _: 60), Looks(clock)
    found = await asyncio.gather(*(lately.of("a", looks.of("a")) for _ in range(20)))
    assert (set(found), looks.done) == ({1}, ["a"])


@pytest.mark.parametrize(("seconds", "looks_made"), [(8, 1), (20, 2)])
async def test_an_answer_holds_from_when_it_was_looked_for_and_by_what_it_took(seconds, looks_made):
    clock = HandClock()
    lately, looks = Lately(clock, lambda took: 5 * took), Looks(clock, 2.0)
    await lately.of("a", looks.of("a"))
    clock.later(seconds - 2.0)
    await lately.of("a", looks.of("a"))
    assert len(looks.done) == looks_made


async def test_no_more_answers_are_kept_than_there_is_room_for_the_oldest_goes():
    clock = HandClock()
    lately, looks = Lately(clock, lambda _: 60, most=2), Looks(clock)
    for question in "abacab":
        await lately.of(question, looks.of(question))
    assert "".join(looks.done) == "abcab"


async def test_a_look_that_fails_is_told_and_not_kept():
    clock = HandClock()
    lately, looks = Lately(clock, lambda _: 60), Looks(clock)

    async def fails():
        raise ValueError("away")

    with pytest.raises(ValueError, match="away"):
        await lately.of("a", fails)
    assert await lately.of("a", looks.of("a")) == 1


async def test_what_is_young_enough_waits_for_nobody_who_looks_for_something_else():
    clock, going = HandClock(), asyncio.Event()
    lately, looks = Lately(clock, lambda _: 60), Looks(clock)
    await lately.of("a", looks.of("a"))

    async def for_long():
        going.set()
        await asyncio.Event().wait()
        return 0

    dear = asyncio.create_task(lately.of("b", for_long))
    await going.wait()
    async with asyncio.timeout(1):
        assert await lately.of("a", looks.of("a")) == 1
    dear.cancel()
