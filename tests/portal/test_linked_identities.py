"""Account: the identities by which one signs in, one more to link, and one to unlink."""

import pytest
from typer.testing import CliRunner

from scheduler.main import app
from tests.portal.test_pages import closed_connections, said

__all__ = ["closed_connections"]


def unlinks(at):
    return [one for one in at.button if one.label == "Unlink…"]


def test_it_lists_who_knows_one_and_leads_to_the_hubs_page_for_another(open_page):
    at = open_page("account")
    assert not at.exception
    text = said(at)
    assert r"State \*University\*" in text
    assert "academic, state\\-u · last sign\\-in" in text
    assert r"Does Government \*sign\-in\* know you too?" in text
    assert len(unlinks(at)) == 2


def test_without_another_issuer_nothing_is_offered(open_page, hub):
    hub.may_link = ()
    at = open_page("account")
    assert not at.exception
    assert "know you too" not in said(at)


def test_whoever_has_a_token_only_sees_nothing_of_it(open_page):
    assert "How you sign in" not in said(open_page("account", "zoe"))


def test_the_only_identity_cannot_be_unlinked(open_page, hub):
    del hub.identities["state-u"]
    assert unlinks(open_page("account")) == []


def test_one_that_the_hub_takes_no_more_does_not_count_and_can_go(open_page, hub):
    hub.identities["state-u"] = hub.identities["state-u"].model_copy(update={"usable": False})
    at = open_page("account")
    assert "Not taken any more" in said(at)
    assert [one.key for one in unlinks(at)] == ["unlink-state-u"]


def test_unlinking_is_asked_twice_and_says_what_ends(open_page, hub):
    at = open_page("account")
    next(one for one in unlinks(at) if one.key == "unlink-state-u").click().run()
    assert "the personal tokens that were made in them" in said(at)
    assert "this session ends too" not in said(at)
    assert set(hub.identities) == {"development", "state-u"}


def test_unlinking_the_one_of_this_session_says_that_it_ends_too(open_page):
    at = open_page("account")
    next(one for one in unlinks(at) if one.key == "unlink-development").click().run()
    assert "this session ends too" in said(at)


def command(hub_url, *words, **options):
    return CliRunner().invoke(
        app, ["identity", *words, "--hub", hub_url, "--token", "cp_user_dana"], **options
    )


def test_the_command_lists_says_where_to_link_and_unlinks(hub_url, hub):
    listed = command(hub_url, "list")
    assert listed.exit_code == 0, listed.output
    assert "state-u" in listed.output
    assert "linked" in listed.output
    assert "/auth/link" in command(hub_url, "link").output
    kept = command(hub_url, "unlink", "state-u", input="n\n")
    assert (kept.exit_code, len(hub.identities)) == (1, 2)
    gone = command(hub_url, "unlink", "state-u", "--yes")
    assert (gone.exit_code, set(hub.identities)) == (0, {"development"})


@pytest.mark.parametrize(
    ("issuer", "told"),
    [("nowhere", "you have no identity of 'nowhere'"), ("state-u", "could sign in nowhere")],
)
def test_the_command_says_what_it_cannot_unlink(hub_url, hub, issuer, told):
    del hub.identities["development"]
    refused = command(hub_url, "unlink", issuer, "--yes")
    assert refused.exit_code != 0
    assert told in " ".join(refused.output.replace("│", " ").split())
