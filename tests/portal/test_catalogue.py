"""Every research challenge has a template, and a template is a job that can be sent as it is."""

import ast
import io
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from portal.catalogue import CHALLENGES, Template, template, templates
from scheduler.wire.jobs import JobRequest

ROOT = Path(__file__).parents[2]
# What the demo's extra brings; a template may import nothing else from outside.
THERE = {"numpy", "ray", "sklearn", "commonpool"}


def test_every_challenge_of_the_list_has_a_template_and_names_are_unique():
    found = [one.said.challenge for one in templates()]
    assert found == sorted(found, key=CHALLENGES.index)
    assert set(found) == set(CHALLENGES)
    names = [one.name for one in templates()]
    titles = [one.said.title for one in templates()]
    assert len(set(names)) == len(names)
    assert len(set(titles)) == len(titles)


def test_a_name_that_is_none_is_no_template():
    assert template("nothing") is None
    assert template("edge") in templates()


@pytest.mark.parametrize("one", templates(), ids=lambda one: one.name)
def test_a_template_is_a_request_and_a_package_of_its_program(one: Template):
    request = one.request("arl-vision")
    assert JobRequest.model_validate_json(request.model_dump_json()) == request
    assert (request.account, request.metadata) == ("arl-vision", {"template": one.name})
    with zipfile.ZipFile(io.BytesIO(one.package())) as package:
        assert package.namelist() == [one.file]
        assert package.read(one.file) == one.program
    assert request.entrypoint.split()[:2] == ["python", one.file]
    assert one.package() == one.package()
    # It is foreseen to be over within its limit, and within a minute.
    assert one.said.expected_seconds < min(60, one.time_limit_seconds)


@pytest.mark.parametrize("one", templates(), ids=lambda one: one.name)
def test_a_program_imports_only_what_the_demo_brings(one: Template):
    tree = ast.parse(one.program)
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    import sys  # noqa: PLC0415

    assert imported - set(sys.stdlib_module_names) <= THERE
    assert ast.get_docstring(tree)


def test_programs_and_their_yaml_are_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "*.yaml" in settings["package-data"]["*"]
    assert (files("portal") / "templates" / "__init__.py").is_file()
