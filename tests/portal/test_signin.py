"""Who may be chosen in the embedded demo."""

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from portal.config import PortalSettings
from portal.main import app
from portal.signin import people


def test_only_users_tokens_are_offered_by_name(tokens):
    (tokens / "notes.txt").write_text("cp_user_hidden")
    (tokens / "binary.token").write_bytes(b"\xff\xfe")
    found = people(PortalSettings(portal_tokens=tokens))
    assert [person.name for person in found] == ["alex", "dana", "iris", "zoe"]
    assert found[1].token == "cp_user_dana"  # noqa: S105  # a made-up one


def test_a_token_replaced_in_its_file_is_used_at_the_next_look(tokens):
    (tokens / "dana.token").write_text("cp_user_new")
    assert people(PortalSettings(portal_tokens=tokens))[1].token == "cp_user_new"  # noqa: S105


def test_with_one_token_there_is_nobody_to_choose(tokens):
    settings = PortalSettings(portal_tokens=tokens, portal_token=SecretStr("cp_user_x"))
    assert [person.name for person in people(settings)] == ["you"]


def test_a_folder_that_is_not_there_is_nobody(tmp_path):
    assert people(PortalSettings(portal_tokens=tmp_path / "none")) == ()


def test_a_persons_token_is_not_in_its_representation(tokens):
    assert "cp_user_" not in repr(people(PortalSettings(portal_tokens=tokens)))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "portal.example"])  # noqa: S104
def test_the_demo_sign_in_is_not_served_to_other_machines(tokens, host):
    result = CliRunner().invoke(app, ["--tokens", str(tokens), "--host", host])
    assert result.exit_code == 2
    assert "other machines" in result.output
