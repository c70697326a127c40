"""What a submission may say, and what it is refused with: pure, without a hub."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.api.ray_jobs_request import parse
from scheduler.core.model import PriorityClass, Tier
from scheduler.errors import Refused


def read(**body):
    return parse({"entrypoint": "true"} | body)


def ours(**metadata):
    return read(metadata={f"commonpool.{name}": text for name, text in metadata.items()}).request


def refusal(**body) -> Refused:
    with pytest.raises(Refused) as caught:
        read(**body)
    return caught.value


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


def test_packages_are_found_wherever_they_are_named():
    env = {
        "working_dir": "gcs://_ray_pkg_aa.zip",
        "py_modules": ["gcs://_ray_pkg_bb.zip", "gcs://my_lib-1.0+x-py3-none-any.whl"],
        "pip": {"packages": ["numpy"], "pip_check": False},
        "uv": ["torch"],
        "conda": {"dependencies": ["python"]},
        "env_vars": {"A": "b"},
        "excludes": ["*.bin"],
        "config": {"setup_timeout_seconds": 60},
    }
    parsed = read(runtime_env=env)
    assert parsed.packages == (
        "_ray_pkg_aa.zip",
        "_ray_pkg_bb.zip",
        "my_lib-1.0+x-py3-none-any.whl",
    )
    assert parsed.request.runtime_env == env


def test_an_https_working_dir_needs_no_upload():
    parsed = read(runtime_env={"working_dir": "https://example.org/code.zip"})
    assert parsed.packages == ()


@pytest.mark.parametrize(
    ("env", "field", "words"),
    [
        ({"working_dir": "file:///etc"}, "working_dir", "site's own disk"),
        ({"working_dir": "local:///etc"}, "working_dir", "site's own disk"),
        ({"working_dir": "http://example.org/a.zip"}, "working_dir", "https://"),
        ({"working_dir": "s3://bucket/a.zip"}, "working_dir", "https://"),
        ({"working_dir": "."}, "working_dir", "https://"),
        ({"working_dir": "gcs://../../etc/passwd"}, "working_dir", "https://"),
        ({"working_dir": 5}, "working_dir", "string"),
        ({"py_modules": ["file:///etc"]}, "py_modules.0", "site's own disk"),
        ({"py_modules": "gcs://x.zip"}, "py_modules", "list"),
        ({"py_modules": ["gcs://x.zip"] * 101}, "py_modules", "100"),
        ({"container": {"image": "x"}}, "container", "isolated"),
        ({"image_uri": "x"}, "image_uri", "image"),
        ({"py_executable": "/bin/sh"}, "py_executable", "started"),
        ({"worker_process_setup_hook": "m.f"}, "worker_process_setup_hook", "not allowed"),
        ({"working_dri": "gcs://x.zip"}, "working_dri", "did you mean 'working_dir'?"),
        ({"pip": "requirements.txt"}, "pip", "path"),
        ({"pip": {"packages": "requirements.txt"}}, "pip", "path"),
        ({"pip": [1]}, "pip", "strings"),
        ({"uv": 1}, "uv", "strings"),
        ({"conda": "/site/env"}, "conda", "path"),
        ({"conda": 1}, "conda", "object"),
        ({"env_vars": {"A": 1}}, "env_vars", "strings"),
        ({"env_vars": {"A=B": "1"}}, "env_vars", "names no variable"),
        ({"env_vars": {"": "1"}}, "env_vars", "names no variable"),
        ({"env_vars": {"RAY_AUTH_TOKEN": "1"}}, "env_vars.RAY_AUTH_TOKEN", "itself"),
        ({"env_vars": {"COMMONPOOL_RUN": "1"}}, "env_vars.COMMONPOOL_RUN", "itself"),
        ({"env_vars": {"A": "x" * 200_000}}, "env_vars", "131072"),
        ({"excludes": "x"}, "excludes", "strings"),
        ({"config": []}, "config", "object"),
        ({"config": {"x": "y" * 300_000}}, "", "too large"),
    ],
)
def test_what_a_shared_site_cannot_allow_is_refused_by_name(env, field, words):
    refused = refusal(runtime_env=env)
    assert refused.status == 400
    assert refused.field == ".".join(filter(None, ("runtime_env", field)))
    assert words in refused.sentence()


def test_null_entries_of_the_runtime_env_are_dropped():
    assert read(runtime_env={"pip": None, "container": None}).request.runtime_env == {}


# Whatever comes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "entrypoint",
        "submission_id",
        "job_id",
        "runtime_env",
        "metadata",
        "entrypoint_num_cpus",
        "entrypoint_num_gpus",
        "entrypoint_memory",
        "entrypoint_resources",
        "entrypoint_label_selector",
    ]
)
OUR_KEYS = st.sampled_from(
    [
        "nodes",
        "gpus_per_node",
        "account",
        "time_limit",
        "gpu_models",
        "tier",
        "label",
        "preemptible",
        "priority",
        "x",
    ]
).map("commonpool.".__add__)
ENV = st.dictionaries(
    st.sampled_from(
        [
            "working_dir",
            "py_modules",
            "pip",
            "uv",
            "conda",
            "env_vars",
            "excludes",
            "config",
            "container",
        ]
    ),
    JSON,
)
BODY = st.dictionaries(KEYS, JSON) | st.fixed_dictionaries(
    {"entrypoint": st.text(min_size=1)},
    optional={"metadata": st.dictionaries(OUR_KEYS, st.text() | JSON), "runtime_env": ENV},
)


@given(JSON | BODY)
@settings(deadline=None)
def test_whatever_json_comes_it_is_read_or_refused_in_one_short_line(value):
    answer = read_or_refused(value)
    if isinstance(answer, Refused):
        assert answer.status in {400, 422}
        assert answer.field
        assert len(answer.sentence()) < 2000
    else:
        assert answer.nodes >= 1
        assert answer.gpus_per_node >= 1
        json.dumps(answer.model_dump(mode="json"))


def read_or_refused(value):
    try:
        return parse(value).request
    except Refused as refused:
        return refused


@given(st.integers(60, 5000))
@settings(deadline=None)
def test_nesting_without_end_is_refused_and_not_a_recursion_error(depth):
    value: object = {}
    for _ in range(depth):
        value = {"x": [value]}
    refused = refusal(runtime_env={"config": value})
    assert "nested" in refused.sentence()


@given(st.text())
@settings(deadline=None)
def test_no_duration_text_is_read_as_something_else(text):
    try:
        seconds = ours(time_limit=text).time_limit_seconds
    except Refused:
        return
    assert re.fullmatch(r"\s*[0-9dhms]+\s*", text)
    assert 1 <= seconds <= 366 * 86_400
