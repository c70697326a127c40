"""Whatever is wrong with a request, the answer names the field, the value, the limit, the step."""

import json

import pytest
import structlog

from scheduler.db.engine import Database
from scheduler.errors import StorageUnavailable

JSON = {"Content-Type": "application/json"}


async def refused(house, status, **asked):
    """Return the problem that a submission meets."""
    answer = await house.call("dana", "POST", "/v1/jobs", json={"entrypoint": "true"} | asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


@pytest.mark.parametrize(
    ("asked", "field", "limit"),
    [
        pytest.param({"entrypoint": ""}, "entrypoint", "at least 1 long", id="an empty command"),
        pytest.param({"entrypoint": " \n"}, "entrypoint", "text with lines", id="a blank command"),
        pytest.param({"entrypoint": 7}, "entrypoint", None, id="a command that is a number"),
        pytest.param({"entrypoint": None}, "entrypoint", None, id="no command"),
        pytest.param(
            {"entrypoint": "a" * 1_000_000},
            "entrypoint",
            "at most 65536 long",
            id="a MB of command",
        ),
        pytest.param({"entrypoint": "a\x00b"}, "entrypoint", "without NUL", id="NUL"),
        pytest.param({"entrypoint": "a\x1b[2Jb"}, "entrypoint", "control", id="an escape sequence"),
        pytest.param({"metadata": {"a": "\x07"}}, "metadata.a", "control", id="a bell in metadata"),
        pytest.param({"metadata": {"a": 5}}, "metadata.a", None, id="metadata that is no text"),
        pytest.param({"metadata": ["a"]}, "metadata", None, id="metadata that is a list"),
        pytest.param({"submission_id": "a/b"}, "submission_id", "matches", id="a slash in the id"),
        pytest.param({"submission_id": "a" * 64}, "submission_id", "matches", id="an id too long"),
        pytest.param({"nodes": 0}, "nodes", "at least 1", id="no nodes"),
        pytest.param({"nodes": -1}, "nodes", "at least 1", id="fewer than no nodes"),
        pytest.param({"nodes": 4097}, "nodes", "at most 4096", id="nodes above the wire's limit"),
        pytest.param({"nodes": 10**30}, "nodes", "at most 4096", id="a huge integer"),
        pytest.param({"nodes": 1.5}, "nodes", None, id="half a node"),
        pytest.param({"nodes": "2"}, "nodes", None, id="nodes as text"),
        pytest.param({"nodes": True}, "nodes", None, id="nodes as a truth"),
        pytest.param({"nodes": 5}, "nodes", "4", id="more nodes than any pool has"),
        pytest.param({"gpus_per_node": 0}, "gpus_per_node", "at least 1", id="no GPUs"),
        pytest.param({"gpus_per_node": 65}, "gpus_per_node", "at most 64", id="GPUs above 64"),
        pytest.param({"gpus_per_node": 9}, "gpus_per_node", "8", id="more GPUs than any node has"),
        pytest.param({"gpu_models": ["Z80"]}, "gpu_models", "H100", id="a model nobody has"),
        pytest.param({"gpu_models": "H100"}, "gpu_models", None, id="models that are no list"),
        pytest.param({"gpu_models": ["H100"] * 17}, "gpu_models", "at most 16", id="17 models"),
        pytest.param({"tier": ["continental"]}, "tier.0", "one of", id="a tier that is none"),
        pytest.param({"tier": ["national", "team"]}, "tier", "tiers", id="tiers upside down"),
        pytest.param({"label": "secret"}, "label", "labels of dana", id="a label not cleared for"),
        pytest.param({"priority": "asap"}, "priority", "one of", id="a priority that is none"),
        pytest.param(
            {"preemptible": False, "priority": "background"},
            "preemptible",
            "always preemptible",
            id="background that refuses recall",
        ),
        pytest.param({"preemptible": "no"}, "preemptible", None, id="a truth as text"),
        pytest.param(
            {"time_limit_seconds": 0}, "time_limit_seconds", "at least 1", id="no time at all"
        ),
        pytest.param(
            {"time_limit_seconds": 2**63}, "time_limit_seconds", "at most", id="time for ever"
        ),
        pytest.param(
            {"time_limit_seconds": 31 * 86_400}, "time_limit_seconds", "2592000s", id="31 days"
        ),
        pytest.param({"account": "nobody"}, "account", "arl-vision", id="an unknown account"),
        pytest.param({"account": "acme-robotics"}, "account", "arl-vision", id="another's account"),
        pytest.param({"account": "arl"}, "account", "arl-vision", id="an account with children"),
        pytest.param({"account": "a" * 121}, "account", "at most 120", id="a very long account"),
        pytest.param({"entrypoint_num_cpus": -1}, "entrypoint_num_cpus", "at least 0", id="CPUs"),
        pytest.param({"gpus": 8}, "gpus", None, id="a field that is not there"),
    ],
)
async def test_a_refused_field_is_named(small, asked, field, limit):
    problem = await refused(small, 422, **asked)
    assert problem["field"] == field
    assert problem["status"] == 422
    assert (limit is None) or limit in problem["limit"]
    assert len(problem.get("value", "")) <= 200
    assert problem["detail"].isprintable()


async def test_a_misspelt_field_is_corrected(small):
    problem = await refused(small, 422, gpus_per_nod=8)
    assert problem["next_step"] == "Did you mean gpus_per_node?"


async def test_every_fault_is_listed(small):
    problem = await refused(small, 422, nodes=0, gpus_per_node=0, entrypoint="")
    assert [e["field"] for e in problem["errors"]] == ["entrypoint", "nodes", "gpus_per_node"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param(b"", 400, "empty", id="nothing"),
        pytest.param(b"{", 400, "not JSON", id="half an object"),
        pytest.param(b"\xff\xfe", 400, "not UTF-8", id="not UTF-8"),
        pytest.param(b"[]", 422, "object", id="a list"),
        pytest.param(b"null", 422, "object", id="null"),
        pytest.param(b"[" * 100_000, 400, "nested too deeply", id="a hundred thousand brackets"),
        pytest.param(
            b'{"runtime_env": {"config": ' + b'{"a":' * 500 + b"1" + b"}" * 502, 400, "", id="deep"
        ),
        pytest.param(b'{"nodes": ' + b"9" * 5000 + b"}", 400, "too many digits", id="5000 digits"),
        pytest.param(b'{"nodes": NaN}', 400, "no NaN", id="NaN"),
        pytest.param(b'{"nodes": -Infinity}', 400, "no -Infinity", id="minus infinity"),
        pytest.param(b'{"entrypoint_num_cpus": 1e999}', 400, "number that large", id="1e999"),
        pytest.param(b'{"nodes": 1, "nodes": 2}', 400, "twice", id="a field twice"),
        pytest.param(
            b'{"metadata": {"a": "1", "a": "2"}}', 400, "twice", id="a key of metadata twice"
        ),
        pytest.param(rb'{"entrypoint": "\ud800"}', 422, "surrogate", id="half a surrogate pair"),
        pytest.param(rb'{"metadata": {"\u0000": "a"}}', 422, "NUL", id="NUL in a key"),
        pytest.param(
            rb'{"entrypoint": "true", "runtime_env": {"env_vars": {"A": "\u0000"}}}',
            422,
            "NUL",
            id="NUL far inside",
        ),
    ],
)
async def test_a_malformed_body_is_a_clean_refusal(small, body, status, says):
    answer = await small.call("dana", "POST", "/v1/jobs", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


async def test_backslashes_before_u0000_are_only_backslashes(small):
    body = rb'{"entrypoint": "echo \\u0000"}'
    answer = await small.call("dana", "POST", "/v1/jobs", content=body, headers=JSON)
    assert answer.status_code == 201
    assert answer.json()["entrypoint"] == r"echo \u0000"


async def test_text_of_every_plane_is_stored_as_it_is(house):
    said = {"entrypoint": "printf 'ü\t漢 \U0001f600\\n'\nexit 0", "metadata": {"é": "\U0001f600"}}
    job = await house.submit("dana", **said)
    again = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert (again["entrypoint"], again["metadata"]) == (said["entrypoint"], said["metadata"])


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%00", "/v1/jobs?account=%00", "/v1/nodes?pool=a%00b", "/api/jobs/%00"]
)
async def test_nul_in_the_address_is_refused_before_any_query(house, path):
    answer = await house.call("dana", "GET", path)
    assert answer.status_code == 400
    assert "NUL" in answer.text


@pytest.mark.parametrize(
    "text", ["%ff", "%ed%a0%80", "a%20b", "%F0%9F%98%80", "a" * 5000, "..%2f.."]
)
async def test_strange_ids_are_just_not_there(house, text):
    answer = await house.call("dana", "GET", f"/v1/jobs/{text}")
    assert answer.status_code == 404, answer.text
    listed = await house.call("dana", "GET", f"/v1/jobs?account={text[:100]}")
    assert listed.status_code == 200, listed.text
    assert listed.json()["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("after=x", "after"),
        ("after=" + "9" * 30, "after"),
        ("state=queued", "state"),
        ("states=pending", "states"),
    ],
)
async def test_a_wrong_query_parameter_is_named(small, query, field):
    answer = await small.call("dana", "GET", f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/", 404), ("PATCH", "/v1/jobs", 405)],
)
async def test_what_is_not_there_is_said_in_a_problem(small, method, path, status):
    answer = await small.call("dana", method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["next_step"] == "See /openapi.json for what there is."
    assert status != 405 or answer.headers["allow"]


async def test_a_slash_too_much_is_no_redirect(small):
    assert (await small.call("dana", "GET", "/v1/jobs/?limit=1")).status_code == 404


async def test_another_media_type_is_refused(small):
    answer = await small.call("dana", "POST", "/v1/jobs", data={"entrypoint": "true"})
    assert answer.status_code == 415
    assert answer.json()["limit"] == "application/json"


async def test_a_body_above_the_limit_is_refused_announced_or_not(small):
    big = b" " * (2 * 1024 * 1024 + 1)

    async def pieces():
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    for content in (big, pieces()):
        answer = await small.call("dana", "POST", "/v1/jobs", content=content, headers=JSON)
        assert answer.status_code == 413
        assert answer.json()["limit"] == "2 MiB"


def break_database(monkeypatch, error):
    def broken(_):
        raise error

    monkeypatch.setattr(Database, "transaction", broken)


async def test_storage_that_refuses_is_a_503_that_says_when_to_come_back(small, monkeypatch):
    await small.bearer("dana")
    break_database(monkeypatch, StorageUnavailable("the disk is full; nothing was stored"))
    answer = await small.call("dana", "POST", "/v1/jobs", json={"entrypoint": "true"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["detail"].count("othing was stored") == 1
    assert "The disk is full" in answer.json()["detail"]


async def test_an_unexpected_error_shows_an_id_and_nothing_else(small, monkeypatch):
    await small.bearer("dana")
    break_database(monkeypatch, ZeroDivisionError("a secret detail"))
    with structlog.testing.capture_logs() as logged:
        answer = await small.call("dana", "POST", "/v1/jobs", json={"entrypoint": "true"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert [entry["request_id"] for entry in logged] == [answer.json()["request_id"]]


async def test_a_value_that_is_shown_is_short_and_printable(small):
    problem = await refused(small, 422, account="\u202e\x1b[31m" + "é" * 100)
    assert problem["value"].startswith(r"\u202e\x1b[31m")
    assert len(json.dumps(problem["value"], ensure_ascii=False)) < 230
