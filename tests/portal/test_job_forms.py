"""A job in the words of Ray's own tools: what is copied must ask for the same."""

import ast
import json
import shlex
from subprocess import list2cmdline

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.job_forms import command_line, metadata, python_form, request_of
from scheduler.core.model import PriorityClass, Tier
from tests.portal.fake_hub import FakeHub

JOB = request_of(FakeHub().jobs["jwaits00001"])
TOKEN = '"$(cat dana.token)"'  # noqa: S105  # how a shell gets it, not one


def words_of(line):
    return shlex.split(line.replace("\\\n", " "))


def with_entrypoint(entrypoint):
    return JOB.model_copy(update={"entrypoint": entrypoint})


def test_the_command_asks_for_the_same_gang_account_and_label():
    words = words_of(command_line(with_entrypoint("python sweep.py"), "http://h:1", TOKEN))
    asked = json.loads(words[words.index("--metadata-json") + 1])
    assert asked == {
        "commonpool.nodes": "4",
        "commonpool.gpus_per_node": "8",
        "commonpool.account": "arl-vision",
        "commonpool.time_limit": "600s",
        "commonpool.tier": "team..national",
        "commonpool.label": "controlled",
    }
    assert words[words.index("--") + 1 :] == ["python", "sweep.py"]
    assert "RAY_ADDRESS=http://h:1" in words


def test_what_differs_from_the_usual_is_said():
    job = JOB.model_copy(
        update={
            "tier": (Tier.TEAM, Tier.TEAM),
            "gpu_models": ("H100", "H200"),
            "preemptible": False,
            "priority": PriorityClass.HIGH,
        }
    )
    said = metadata(job)
    assert said["commonpool.tier"] == "team"
    assert said["commonpool.gpu_models"] == "H100,H200"
    assert (said["commonpool.preemptible"], said["commonpool.priority"]) == ("false", "high")


@given(st.text(st.sampled_from("ab \"'$\\\n;&|é*"), min_size=1, max_size=30))
def test_a_command_is_offered_only_where_ray_carries_it_unchanged(entrypoint):
    line = command_line(with_entrypoint(entrypoint), "http://h:1", TOKEN)
    if line is not None:
        words = words_of(line)
        sent = words[words.index("--") + 1 :]
        assert list2cmdline(sent) == shlex.join(sent) == entrypoint


@pytest.mark.parametrize("entrypoint", ['python -c "print(1)"', "a\nb", "a  b"])
def test_a_command_that_ray_would_change_is_offered_in_python(entrypoint):
    assert command_line(with_entrypoint(entrypoint), "http://h:1", TOKEN) is None


@given(st.text(min_size=1, max_size=40))
def test_the_python_form_is_python_and_carries_the_command_unchanged(entrypoint):
    tree = ast.parse(python_form(with_entrypoint(entrypoint), "http://h:1", None))
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "submit_job"
    )
    sent = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert sent["entrypoint"] == entrypoint
    assert sent["metadata"] == metadata(JOB)
