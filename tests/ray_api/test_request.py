"""What a submission may say, and what it is refused with: pure, without a hub."""

import pytest

from scheduler.api.ray_jobs_request import parse
from scheduler.core.model import PriorityClass, Tier
from scheduler.errors import Refused
from tests.ray_api.asking import ours, read, refusal


def test_a_job_that_asks_for_no_gpus_leaves_their_number_to_the_policy():
    assert read().request.model_fields_set.isdisjoint({"nodes", "gpus_per_node"})
    assert "gpus_per_node" not in ours(nodes="2").model_fields_set


def test_entrypoint_gpus_without_any_of_our_fields_is_that_many_on_one_node():
    request = read(entrypoint_num_gpus=8.0).request
    assert (request.nodes, request.gpus_per_node) == (1, 8)
    assert request.entrypoint_num_gpus == 8


def test_no_entrypoint_gpus_is_no_ask_at_all():
    assert "gpus_per_node" not in read(entrypoint_num_gpus=0).request.model_fields_set


def test_all_our_fields_together():
    request = ours(
        nodes="2",
        gpus_per_node="8",
        account="arl-vision",
        time_limit="2h",
        gpu_models="H100, H200,H100",
        tier="team..national",
        label="controlled",
        preemptible="False",
        priority="high",
    )
    assert (request.nodes, request.gpus_per_node) == (2, 8)
    assert request.account == "arl-vision"
    assert request.time_limit_seconds == 7200
    assert request.gpu_models == ("H100", "H200")
    assert request.tier == (Tier.TEAM, Tier.NATIONAL)
    assert request.label == "controlled"
    assert request.preemptible is False
    assert request.priority is PriorityClass.HIGH
    assert request.metadata["commonpool.gpu_models"] == "H100, H200,H100"


def test_one_tier_is_that_tier_only():
    assert ours(tier="institution").tier == (Tier.INSTITUTION,)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("5400", 5400),
        (" 5m ", 300),
    ],
)
def test_time_limits_are_read(text, seconds):
    assert ours(time_limit=text).time_limit_seconds == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5h", "h", "2w", "367d", "9" * 12, "٣m"])
def test_time_limits_out_of_range_are_refused(text):
    refused = refusal(metadata={"commonpool.time_limit": text})
    assert (refused.status, refused.field) == (422, "commonpool.time_limit")
    assert "30m" in refused.limit


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"entrypoint": 5}, "entrypoint", id="an entrypoint that is a number"),
        pytest.param({"entrypoint": " \n"}, "entrypoint", id="a blank entrypoint"),
        pytest.param({"entrypoint": "x" * 65_537}, "entrypoint", id="an entrypoint above 64 KiB"),
        pytest.param({"entrypoint": "é" * 40_000}, "entrypoint", id="64 KiB counts bytes"),
        pytest.param({"entrypont": "true"}, "entrypont", id="an unknown key"),
        pytest.param({"submission_id": "a/b"}, "submission_id", id="a slash in the id"),
        pytest.param({"submission_id": "a" * 64}, "submission_id", id="an id of 64"),
        pytest.param({"submission_id": 7}, "submission_id", id="an id that is a number"),
        pytest.param({"job_id": "a b"}, "job_id", id="the old name of the id is checked too"),
        pytest.param({"metadata": {"priority": 5}}, "metadata.priority", id="metadata numbers"),
        pytest.param({"metadata": ["x"]}, "metadata", id="metadata that is a list"),
        pytest.param({"metadata": {"x": "y" * 70_000}}, "metadata", id="too much metadata"),
        pytest.param(
            {"metadata": {str(n): "" for n in range(201)}}, "metadata", id="too many metadata keys"
        ),
        pytest.param({"entrypoint_num_gpus": -1}, "entrypoint_num_gpus", id="negative GPUs"),
        pytest.param({"entrypoint_num_gpus": 0.5}, "entrypoint_num_gpus", id="half a GPU"),
        pytest.param({"entrypoint_num_gpus": 1.5}, "entrypoint_num_gpus", id="one and a half"),
        pytest.param({"entrypoint_num_gpus": float("nan")}, "entrypoint_num_gpus", id="NaN GPUs"),
        pytest.param({"entrypoint_num_gpus": float("inf")}, "entrypoint_num_gpus", id="infinite"),
        pytest.param({"entrypoint_num_gpus": True}, "entrypoint_num_gpus", id="true GPUs"),
        pytest.param({"entrypoint_num_gpus": "8"}, "entrypoint_num_gpus", id="GPUs as text"),
        pytest.param({"entrypoint_num_gpus": 65}, "entrypoint_num_gpus", id="65 on one node"),
        pytest.param({"entrypoint_num_cpus": -0.1}, "entrypoint_num_cpus", id="negative CPUs"),
        pytest.param({"entrypoint_memory": 1.5}, "entrypoint_memory", id="half a byte"),
        pytest.param({"entrypoint_memory": 10**5000}, "entrypoint_memory", id="endless memory"),
        pytest.param(
            {"entrypoint_resources": {"GPU": 1}}, "entrypoint_resources.GPU", id="GPU as resource"
        ),
        pytest.param(
            {"entrypoint_resources": {"x": "1"}}, "entrypoint_resources.x", id="text resource"
        ),
        pytest.param(
            {"entrypoint_label_selector": {"a": "in()"}},
            "entrypoint_label_selector.a",
            id="a selector of nothing",
        ),
        pytest.param({"runtime_env": []}, "runtime_env", id="a runtime_env that is a list"),
    ],
)
def test_what_ray_forbids_or_fails_on_later_is_400_by_name(body, field):
    refused = refusal(**body)
    assert (refused.status, refused.field) == (400, field)
    assert field in refused.sentence()


def test_a_submission_without_entrypoint_is_400():
    with pytest.raises(Refused, match="entrypoint is missing") as caught:
        parse({})
    assert caught.value.status == 400


def test_null_is_as_good_as_absent_even_for_keys_of_newer_clients():
    parsed = read(submission_id=None, runtime_env=None, metadata=None, some_new_key=None)
    assert parsed.request.runtime_env == {}


def test_an_empty_id_asks_for_one_to_be_made_up():
    assert read(submission_id="").request.submission_id is None


def test_the_old_name_of_the_id_is_taken_where_the_new_one_is_not_given():
    assert read(job_id="old").request.submission_id == "old"
    assert read(job_id="old", submission_id="new").request.submission_id == "new"


def test_an_unknown_key_gets_a_suggestion():
    assert "did you mean 'entrypoint_num_gpus'?" in refusal(entrypoint_num_gpu=1).sentence()


@pytest.mark.parametrize(
    "key", ["commonpool.gpu_per_node", "commonpool.Nodes", "Commonpool.nodes", "commonpool."]
)
def test_an_unknown_field_of_ours_is_refused_by_name_with_those_there_are(key):
    refused = refusal(metadata={key: "2"})
    assert (refused.status, refused.field) == (422, key)
    assert "commonpool.gpus_per_node" in refused.limit


def test_an_unknown_field_of_ours_gets_a_suggestion():
    refused = refusal(metadata={"commonpool.gpu_per_node": "2"})
    assert refused.next_step == "did you mean 'commonpool.gpus_per_node'?"


def test_metadata_of_other_prefixes_is_the_users_own():
    assert read(metadata={"commonpoolish": "x", "team": "y"}).request.metadata["team"] == "y"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nodes", "0"),
        ("nodes", "-1"),
        ("nodes", "two"),
        ("nodes", "4097"),
        ("nodes", "1.0"),
        ("nodes", "²"),
        ("gpus_per_node", "65"),
        ("gpus_per_node", ""),
        ("account", " "),
        ("gpu_models", "H100,,H200"),
        ("gpu_models", ""),
        ("gpu_models", ",".join(f"M{n}" for n in range(17))),
        ("tier", "cosmic"),
        ("tier", "team..national..frontier"),
        ("tier", "national..team"),
        ("tier", ".."),
        ("label", ""),
        ("preemptible", "no"),
        ("priority", "very high"),
        ("simulated_seconds", "soon"),
    ],
)
def test_our_fields_out_of_range_are_422_by_name(name, text):
    refused = refusal(metadata={f"commonpool.{name}": text})
    assert (refused.status, refused.field) == (422, f"commonpool.{name}")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        pytest.param(
            {"entrypoint_num_gpus": 4, "metadata": {"commonpool.gpus_per_node": "2"}},
            ("entrypoint_num_gpus", "commonpool.gpus_per_node"),
            id="a driver with more GPUs than its job",
        ),
        pytest.param(
            {"entrypoint_num_gpus": 1, "metadata": {"commonpool.nodes": "2"}},
            ("entrypoint_num_gpus", "commonpool.nodes"),
            id="a driver's GPUs and a gang",
        ),
        pytest.param(
            {"metadata": {"commonpool.preemptible": "false", "commonpool.priority": "background"}},
            ("commonpool.preemptible", "commonpool.priority"),
            id="background that refuses recall",
        ),
        pytest.param(
            {"metadata": {"commonpool.tier": "national..team"}},
            ("commonpool.tier", "team..national"),
            id="a lowest tier above the highest",
        ),
    ],
)
def test_contradictions_are_refused_and_both_sides_named(body, names):
    refused = refusal(**body)
    assert refused.status == 422
    for name in names:
        assert name in refused.sentence()


def test_a_driver_may_hold_some_of_its_jobs_gpus():
    request = read(entrypoint_num_gpus=2, metadata={"commonpool.gpus_per_node": "8"}).request
    assert (request.nodes, request.gpus_per_node, request.entrypoint_num_gpus) == (1, 8, 2)


# The runtime environment


def test_what_else_a_job_may_ask_for_is_read():
    request = ours(
        name=" digits ", memory_gib="80", software="pytorch, cuda-12.4,pytorch", reservation="ex-7"
    )
    assert (request.name, request.memory_gib, request.reservation) == ("digits", 80, "ex-7")
    assert request.software == ("pytorch", "cuda-12.4")
    assert ours(h100e="16").model_fields_set.isdisjoint({"nodes", "gpus_per_node"})
    assert ours(h100e="16").h100e == 16


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        pytest.param("name", "x" * 201, "at most 200 printable", id="a name of 201"),
        pytest.param("name", "two\nlines", "printable", id="a name of two lines"),
        pytest.param("memory_gib", "0", "from 1 to 100000", id="no memory"),
        pytest.param("memory_gib", "80GB", "from 1 to 100000", id="memory with a unit"),
        pytest.param("h100e", "1.5", "from 1 to 262144", id="half an H100"),
        pytest.param("h100e", "262145", "from 1 to 262144", id="more than there may be"),
        pytest.param("software", "cuda 12", "cuda-12.4,pytorch", id="software with a space"),
        pytest.param("software", "cuda,", "commas between", id="software that is empty"),
        pytest.param("software", ",".join(f"s{n}" for n in range(17)), "1 to 16", id="17 names"),
        pytest.param("reservation", "", "the id of a reservation", id="no reservation's id"),
        pytest.param("reservation", "Mine!", "the id of a reservation", id="not an id"),
    ],
)
def test_what_else_a_job_may_ask_for_is_refused_by_name_out_of_its_range(name, text, limit):
    refused = refusal(metadata={f"commonpool.{name}": text})
    assert (refused.status, refused.field) == (422, f"commonpool.{name}")
    assert limit in refused.limit


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"metadata": {"commonpool.nodes": "1"}}, id="nodes"),
        pytest.param({"metadata": {"commonpool.gpus_per_node": "8"}}, id="GPUs of each"),
        pytest.param({"entrypoint_num_gpus": 1}, id="GPUs for the driver"),
    ],
)
def test_h100_equivalents_next_to_a_number_of_gpus_are_refused(other):
    metadata = {"commonpool.h100e": "16"} | other.get("metadata", {})
    refused = refusal(**(other | {"metadata": metadata}))
    assert (refused.status, refused.field) == (422, "commonpool.h100e")
    assert "leave out" in refused.next_step
