"""From the form to a request, and from a refusal back to the form's field."""

import httpx
import pytest

from portal.client.hub import Hub, HubUnreachable
from portal.submission import Trouble, Wish, form_field, request, send
from scheduler.core.model import PriorityClass, Tier


def wish(**fields):
    usual = {
        "entrypoint": "python train.py",
        "account": "arl-vision",
        "nodes": 1,
        "gpus_per_node": 1,
        "gpu_models": (),
        "tiers": (Tier.TEAM, Tier.NATIONAL),
        "all_tiers": True,
        "label": "public",
        "priority": PriorityClass.STANDARD,
        "preemptible": True,
        "time_limit": "",
        "name": "",
        **fields,
    }
    return Wish(**usual)


@pytest.fixture
def dana(hub_url):
    hub = Hub(hub_url, "cp_user_dana")
    yield hub
    hub.close()


def test_what_was_left_empty_is_left_to_the_policy():
    sent = request(wish())
    assert not {"tier", "gpu_models", "time_limit_seconds", "submission_id"} & sent.model_fields_set


def test_what_was_said_is_sent():
    asked = wish(tiers=(Tier.TEAM, Tier.TEAM), all_tiers=False, time_limit="2h", name=" try-2 ")
    sent = request(asked)
    assert (sent.tier, sent.time_limit_seconds) == ((Tier.TEAM, Tier.TEAM), 7200)
    assert sent.submission_id == "try-2"


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        pytest.param({"entrypoint": "  "}, "entrypoint", "Say what to run", id="no command"),
        pytest.param({"time_limit": "soon"}, "time_limit", "Write it as 90s", id="no time"),
        pytest.param({"time_limit": "999d"}, "time_limit", "less than", id="over a year"),
        pytest.param({"name": "my job"}, "name", "Use letters", id="a name with a space"),
        pytest.param({"h100e": 8, "nodes": 2}, "h100e", "Say either", id="two sizes"),
        pytest.param({"software": ("CUDA 12",)}, "software", "Use the names", id="no software"),
        pytest.param({"memory_gib": 10**6}, "memory_gib", "less than", id="a petabyte"),
        pytest.param({"nodes": 0}, "nodes", "greater than", id="no node"),
    ],
)
def test_a_mistake_is_told_at_its_field_before_the_hub_is_asked(fields, field, said):
    found = request(wish(**fields))
    assert isinstance(found, Trouble)
    assert found.field == field
    assert said in found.text


def test_a_refusal_of_the_hub_is_told_at_its_field_with_limit_and_next_step(dana):
    found = send(dana, wish(nodes=9), {})
    assert found == Trouble(
        "nodes",
        "A gang starts on different nodes of one pool, or not at all. Limit: nodes of the"
        " largest pool it may use: 4. Ask for fewer nodes or GPUs.",
    )


def test_the_same_wish_sent_again_after_no_answer_is_the_same_job(hub, dana):
    keys = {}
    away = Hub("http://127.0.0.1:9", "cp_user_dana")
    with pytest.raises(HubUnreachable):
        send(away, wish(), keys)
    before = len(hub.jobs)
    # The first sending may well have arrived: the hub knows its key already.
    (key,) = keys.values()
    hub.submit("dana", request(wish()), key)
    send(dana, wish(), keys)
    assert len(hub.jobs) == before + 1
    assert keys == {}


def test_two_wishes_that_differ_are_two_jobs_and_so_is_one_sent_twice(hub, dana):
    keys, before = {}, len(hub.jobs)
    send(dana, wish(), keys)
    send(dana, wish(), keys)
    send(dana, wish(nodes=2), keys)
    assert len(hub.jobs) == before + 3


def test_files_are_uploaded_under_a_name_of_their_content(hub, dana):
    send(dana, wish(files=b"PK-one"), {})
    send(dana, wish(files=b"PK-one"), {})
    assert [name.removesuffix(".zip")[:9] for name in hub.packages] == ["_ray_pkg_"]
    assert list(hub.packages.values()) == [b"PK-one"]


def test_a_refused_package_is_told_at_the_files():
    def too_large(_):
        return httpx.Response(413, text="commonpool: the package is larger than 20 MiB\n")

    hub = Hub("http://h", "t", httpx.Client(transport=httpx.MockTransport(too_large)))
    assert send(hub, wish(files=b"PK"), {}) == Trouble(
        "files", "Commonpool: the package is larger than 20 MiB."
    )


@pytest.mark.parametrize(
    ("hubs", "ours"),
    [
        ("nodes", "nodes"),
        ("body.time_limit_seconds", "time_limit"),
        ("runtime_env.working_dir", "files"),
        ("tier", "tiers"),
        ("tier.0", "tiers"),
        ("submission_id", "name"),
        ("user", ""),
        ("", ""),
    ],
)
def test_the_hubs_field_is_found_in_the_form(hubs, ours):
    assert form_field(hubs) == ours


def test_what_else_a_job_may_ask_for_is_sent_where_it_was_said():
    sent = request(
        wish(job_name=" digits ", memory_gib=80, software=("cuda-12.4",), reservation="ex-7")
    )
    assert (sent.name, sent.memory_gib, sent.reservation) == ("digits", 80, "ex-7")
    assert sent.software == ("cuda-12.4",)
    later = {"name", "memory_gib", "h100e", "software", "reservation"}
    assert not later & request(wish()).model_fields_set


def test_h100_equivalents_go_without_a_number_of_gpus():
    sent = request(wish(h100e=16))
    assert sent.h100e == 16
    assert not {"nodes", "gpus_per_node"} & sent.model_fields_set


def test_a_refused_name_is_told_at_its_own_field():
    found = request(wish(job_name="x" * 201))
    assert isinstance(found, Trouble)
    assert found.field == form_field("name") == "job_name"
    assert form_field("submission_id") == "name"
