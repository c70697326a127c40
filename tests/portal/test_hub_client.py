"""The client against answers that are right, refused, foreign or absent."""

import json

import httpx
import pytest

from portal.client.hub import Hub, HubProblem, HubUnreachable
from scheduler.wire.jobs import JobRequest

ME = {"subject": "dana", "scope": "user", "accounts": ["arl-vision"], "labels": ["public"]}
PIECES = [
    {"text": "one\n", "next_offset": 4, "complete": False},
    {"text": "", "next_offset": 4, "complete": False},
    {"text": "two\n", "next_offset": 8, "complete": True},
    {"text": "", "next_offset": 8, "complete": True},
]


def hub_that(answer):
    """Return a client whose every request is handed to `answer`, and the requests it sent."""
    sent = []

    def respond(request):
        sent.append(request)
        return answer(request)

    client = httpx.Client(transport=httpx.MockTransport(respond))
    return Hub("http://hub.test:8265/", "cp_user_secret", client), sent


def test_each_request_carries_the_token_of_its_own_hub():
    hub, sent = hub_that(lambda _: httpx.Response(200, json=ME))
    assert hub.me().accounts == ("arl-vision",)
    assert sent[0].headers["Authorization"] == "Bearer cp_user_secret"
    assert str(sent[0].url) == "http://hub.test:8265/v1/me"


def test_a_job_name_from_a_person_cannot_leave_its_place_in_the_path():
    hub, sent = hub_that(
        lambda _: httpx.Response(
            404, json={"title": "Not found", "status": 404, "detail": "no such job"}
        )
    )
    with pytest.raises(HubProblem):
        hub.job("../nodes?x=1")
    assert sent[0].url.raw_path == b"/v1/jobs/..%2Fnodes%3Fx%3D1"


def test_submitting_sends_only_what_was_said_so_that_the_policys_defaults_hold():
    hub, sent = hub_that(
        lambda _: httpx.Response(422, json={"title": "t", "status": 422, "detail": "d"})
    )
    with pytest.raises(HubProblem):
        hub.submit(JobRequest(entrypoint="true", nodes=2), idempotency_key="k1")
    assert json.loads(sent[0].content) == {"entrypoint": "true", "nodes": 2}
    assert sent[0].headers["Idempotency-Key"] == "k1"


def test_a_refusal_keeps_field_limit_and_next_step():
    document = {
        "title": "Refused",
        "status": 422,
        "detail": "A gang of 99 nodes fits no pool",
        "field": "nodes",
        "value": "99",
        "limit": "4",
        "next_step": "Ask for fewer nodes",
    }
    hub, _ = hub_that(lambda _: httpx.Response(422, json=document))
    with pytest.raises(HubProblem) as caught:
        hub.pools()
    assert (caught.value.field, caught.value.limit) == ("nodes", "4")
    assert str(caught.value) == "A gang of 99 nodes fits no pool. limit: 4. Ask for fewer nodes."


def test_a_proxys_page_in_place_of_a_problem_is_still_a_problem_with_its_status():
    hub, _ = hub_that(lambda _: httpx.Response(502, text="Bad gateway\n<html>"))
    with pytest.raises(HubProblem) as caught:
        hub.me()
    assert (caught.value.status, caught.value.detail) == (502, "Bad gateway")


def test_an_answer_of_another_service_is_not_taken_for_the_hubs():
    hub, _ = hub_that(lambda _: httpx.Response(200, text="<h1>It works!</h1>"))
    with pytest.raises(HubUnreachable, match="not as a Commonpool hub"):
        hub.me()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(httpx.ConnectError("refused"), "nothing listens", id="refused"),
        pytest.param(httpx.ReadTimeout("slow"), "no answer within 10 s", id="silent"),
        pytest.param(httpx.ConnectTimeout("slow"), "no connection within 2 s", id="no route"),
        pytest.param(httpx.ReadError("reset"), "connection broke", id="reset"),
    ],
)
def test_a_hub_that_is_away_is_named_with_its_address_and_why(error, said):
    def fail(_):
        raise error

    hub, _ = hub_that(fail)
    with pytest.raises(HubUnreachable, match=said) as caught:
        hub.me()
    assert caught.value.url == "http://hub.test:8265"


def test_an_address_without_a_scheme_is_told_as_such():
    with pytest.raises(HubUnreachable, match="http:// or https://"):
        Hub("hub.test:8265", "t").me()


def test_following_a_log_yields_each_piece_once_and_ends_when_it_is_complete():
    pieces = iter(PIECES)
    hub, sent = hub_that(lambda _: httpx.Response(200, json=next(pieces)))
    assert list(hub.follow_log("j1", pause_seconds=0)) == ["one\n", "two\n"]
    assert [int(request.url.params["offset"]) for request in sent] == [0, 4, 4, 8]


def test_a_package_that_the_hub_lacks_is_a_no_and_a_refused_look_is_not():
    hub, _ = hub_that(lambda _: httpx.Response(404))
    assert hub.has_package("_ray_pkg_0123456789abcdef.zip") is False
    hub, _ = hub_that(lambda _: httpx.Response(401))
    with pytest.raises(HubProblem):
        hub.has_package("_ray_pkg_0123456789abcdef.zip")
