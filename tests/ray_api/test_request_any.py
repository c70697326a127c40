"""Whatever JSON comes: it is read, or refused in one short line."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.api.ray_jobs_request import parse
from scheduler.errors import Refused
from tests.ray_api.asking import ours, refusal

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
