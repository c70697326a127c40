"""`GET /v1/sector-use`: what everybody may know of who had how many GPUs."""

from datetime import timedelta


async def test_sectors_are_told_hour_by_hour_with_what_there_is(house):
    await house.running("dana", gpus_per_node=8)
    house.clock.forward(timedelta(hours=2, minutes=30))
    found = (await house.call("alex", "GET", "/v1/sector-use?days=1")).json()
    (dod,) = found["sectors"]
    assert (dod["sector"], dod["gpus"][-4:]) == ("dod", [0.0, 8.0, 8.0, 8.0])
    assert (found["capacity"], found["simulated"]) == (56, True)


async def test_it_is_looked_up_once_a_minute_for_all(small):
    first = (await small.call("alex", "GET", "/v1/sector-use")).json()
    small.clock.forward(timedelta(seconds=5))
    assert (await small.call("dana", "GET", "/v1/sector-use")).json() == first


async def test_a_window_that_is_too_long_is_refused(small):
    answer = await small.call("dana", "GET", "/v1/sector-use?days=90")
    assert (answer.status_code, answer.json()["field"]) == (422, "days")
