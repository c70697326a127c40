"""The OpenAPI document is true: its examples are valid, and no request it allows breaks the hub.

Schemathesis sends what the document allows and what it forbids to a real server on
loopback, loops and all, as a user and as an admin (whom every door lets in).
"""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import msgspec
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from pydantic import BaseModel
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from scheduler.api import (
    examples,
    examples_audit,
    examples_job_reports,
    examples_ledger,
    examples_operating,
    examples_planner,
    examples_requests,
    examples_telemetry,
)
from scheduler.api.app import create_app
from scheduler.clock import SystemClock
from scheduler.config import HubSettings
from scheduler.db.policies import save_policy
from scheduler.db.tokens import issue_token
from scheduler.hub import build_hub
from scheduler.wire import (
    accounts,
    audit,
    diagnostics,
    job_reports,
    jobs,
    ledger,
    nodes,
    operating,
    policies,
    precedents,
    reports,
    requests,
    sector_use,
    sites,
    telemetry,
    usage,
    what_if,
)
from scheduler.wire.accounts import Scope, TokenRequest
from tests.api.conftest import POLICY
from tests.waiting import until

DOCUMENT = create_app(SimpleNamespace(settings=HubSettings(), clock=SystemClock())).openapi()
MESSAGES = {
    name: message
    for module in (
        *(accounts, audit, diagnostics, job_reports, jobs, ledger, nodes, operating, policies),
        *(precedents, reports, requests, sector_use, sites, telemetry, usage, what_if),
    )
    for name, message in vars(module).items()
    if isinstance(message, type) and issubclass(message, BaseModel | msgspec.Struct)
}


def message_of(example):
    """Return the message that an example is named after: `JOB_VIEW` is a `JobView`."""
    return MESSAGES["".join(part.capitalize() for part in example.split("_"))]


EXAMPLES = {
    name: example
    for module in (
        *(examples, examples_audit, examples_ledger, examples_operating, examples_planner),
        examples_job_reports,
        examples_requests,
        examples_telemetry,
    )
    for name, example in vars(module).items()
    if name.isupper() and name not in {"POLICY", "POLICY_TEXT"} and not name.startswith("_")
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_valid_message(name):
    example = EXAMPLES[name]
    message = message_of(name)
    if issubclass(message, msgspec.Struct):
        assert msgspec.json.decode(json.dumps(example), type=message)
        return
    made = message.model_validate_json(json.dumps(example), strict=True)
    assert made.model_dump(mode="json", exclude_unset=True).keys() == example.keys()


def operations():
    for path, found in DOCUMENT["paths"].items():
        for method, operation in found.items():
            yield pytest.param(path, operation, id=f"{method} {path}")


@pytest.mark.parametrize(("path", "operation"), list(operations()))
def test_every_operation_says_what_it_takes_answers_and_refuses(path, operation):
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    answers = [answer for code, answer in operation["responses"].items() if code < "300"]
    media = [m for part in bodies + answers for m in part.get("content", {}).items()]
    assert operation["description"]
    assert all(
        "example" in told for kind, told in media if kind in {"application/json", "text/yaml"}
    )
    if path in {"/healthz", "/readyz"}:
        return
    assert operation["security"]
    if not path.startswith("/api"):
        for code in ("401", "403", "503"):
            problem = operation["responses"][code]["content"]["application/problem+json"]
            assert accounts.Problem.model_validate(problem["example"]).status == int(code)


def test_operation_ids_are_unique_and_short():
    ids = [o["operationId"] for found in DOCUMENT["paths"].values() for o in found.values()]
    assert len(set(ids)) == len(ids)
    assert all(len(one) <= 24 for one in ids), ids


class Served:
    """A hub in a thread of its own, as it would be run."""

    def __init__(self, folder):
        self.hub = build_hub(HubSettings(data=folder, cycle_seconds=1), SystemClock())
        config = uvicorn.Config(self.hub.app, log_config=None, access_log=False)
        self.server = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run)
        self.tokens = {}

    def _run(self):
        asyncio.run(self.server.serve(sockets=[self.listener]))

    def prepare(self):
        async def prepared():
            db, now = self.hub.state.db, SystemClock().now()
            await db.migrate()
            async with db.transaction() as conn:
                await save_policy(conn, POLICY, now, "admin")
                for who, scope in (("dana", Scope.USER), ("root", Scope.ADMIN)):
                    issued = await issue_token(conn, TokenRequest(subject=who, scope=scope), now)
                    self.tokens[scope] = {"Authorization": f"Bearer {issued.token}"}
            await db.close()

        asyncio.run(prepared())


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("hub"))
    found.prepare()
    found.thread.start()
    until(lambda: found.server.started, 30)
    yield found
    found.server.should_exit = True
    found.thread.join(30)
    assert not found.thread.is_alive()


schema = schemathesis.openapi.from_dict(DOCUMENT)

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
quick = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


# Paths that people's tokens open; the others are tried with an admin's, which opens every door.
PEOPLES = re.compile("/(v1/(me|jobs.*|pools|nodes|accounts|shares|prio|queue)|healthz|readyz)")


def is_peoples(context):
    return PEOPLES.fullmatch(context.operation.path) is not None


@schema.include(is_peoples).parametrize()
@quick
def test_whatever_a_person_sends_the_answer_is_one_that_the_document_names(case, served):
    validate(case, served, Scope.USER)


@schema.exclude(is_peoples).exclude(path_regex="^/api").parametrize()
@quick
def test_whatever_an_agent_or_admin_sends_the_answer_is_named_too(case, served):
    validate(case, served, Scope.ADMIN)


def validate(case, served, scope):
    case.call_and_validate(
        base_url=served.url,
        headers=served.tokens[scope],
        checks=[not_a_server_error, *CHECKS],
        timeout=30,
    )


# Ray's own words for what Ray answers with 500 (notes/ray.md); its clients look for them.
RAYS = ("Attempted to delete job", "Job with submission_id")


@schema.include(path_regex="^/api").exclude(method="PUT").parametrize()
@quick
def test_rays_api_fails_only_in_rays_words(case, served):
    answer = case.call(base_url=served.url, headers=served.tokens[Scope.USER], timeout=30)
    assert answer.status_code < 500 or answer.text.startswith(RAYS), answer.text
    if answer.status_code >= 400:
        assert len(answer.text.splitlines()) == 1
        assert "{" not in answer.text[:1]


def test_after_all_that_the_hub_is_ready(served):
    answer = schema["/readyz"]["GET"].Case().call(base_url=served.url, timeout=30)
    assert answer.json() == {"status": "ready"}
