"""Account: who one is, tokens that are shown once, and sessions that one ends."""

from datetime import timedelta

import pytest

from portal.parts.account import ACTION_WORDS, MAY, POWER_WORDS, SECRET_SHOWN_FOR, device
from scheduler.core.roles import Action
from scheduler.wire.identity import Power
from tests.portal.identities import FIREFOX, SAFARI
from tests.portal.test_pages import button, closed_connections, field, rows, said

__all__ = ["closed_connections"]
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/156.0 Edg/156.0"
SECRET = "cp_pat_" + "x" * 43


def secrets(at):
    return [code.value for code in at.code if code.value.startswith(SECRET)]


def make(at, name="nightly sweep", power=Power.READ, days=7):
    field(at.text_input, "What it is for").set_value(name)
    field(at.selectbox, "What it may do").set_value(power)
    field(at.number_input, "Days until it ends, at most 90").set_value(days)
    return button(at, "Make token").click().run()


def test_it_says_who_one_is_and_where_alerts_go(open_page):
    at = open_page("account")
    assert not at.exception
    assert rows(at)[0] == {"Account": r"arl\-vision", "You are": "researcher"}
    assert "By e-mail to dana@arl.example" in said(at)


def test_without_an_address_it_says_who_adds_one(open_page, hub):
    hub.emails = {}
    assert "adds `email` to you" in said(open_page("account"))


def test_whoever_has_no_role_is_told_what_to_do(open_page):
    at = open_page("account", "zoe")
    assert not at.exception
    assert "You have no role on any account" in said(at)
    assert "You have no token that works" in said(at)


def test_a_new_token_is_shown_until_it_is_copied_and_never_again(open_page, hub):
    at = make(open_page("account"))
    made = next(iter(hub.tokens.values()))
    assert (made.name, made.powers) == ("nightly sweep", (Power.READ,))
    assert made.expires_at - hub.now == timedelta(days=7)
    assert len(secrets(at)) == 1
    assert "It is shown this once" in said(at)
    button(at, "I have copied it").click().run()
    assert secrets(at) == []
    assert secrets(at.run()) == []


def test_a_secret_does_not_stay_on_an_unwatched_page(open_page):
    at = make(open_page("account"))
    issued = at.session_state["issued"]
    past = issued.at - SECRET_SHOWN_FOR - timedelta(seconds=1)
    at.session_state["issued"] = type(issued)(issued.token, past)
    assert secrets(at.run()) == []


def test_another_person_in_the_same_window_never_sees_the_secret(open_page, monkeypatch):
    at = make(open_page("account"))
    monkeypatch.setenv("COMMONPOOL_PORTAL_TOKEN", "cp_user_iris")
    assert secrets(at.run()) == []


def test_a_token_without_a_purpose_is_not_made(open_page, hub):
    before = len(hub.tokens)
    at = make(open_page("account"), name="  ")
    assert "Say what it is for" in at.error[0].value
    assert len(hub.tokens) == before


def test_only_tokens_that_work_are_in_the_way(open_page):
    at = open_page("account")
    assert r"**dashboard of \*arl\***" in said(at)
    assert "old sweep" not in said(at)
    field(at.toggle, "Show 2 tokens that ended").set_value(True).run()
    assert "**old sweep**" in said(at)
    assert [each.label for each in at.button].count("Revoke…") == 2


def test_revoking_and_signing_out_ask_first(open_page, hub):
    at = open_page("account")
    at.button(key="revoke-t0ke000000000001").click().run()
    assert "is refused from its next request on" in said(at)
    at = open_page("account")
    at.button(key="end-5e55000000000002").click().run()
    assert "asks to sign in again" in said(at)
    at = open_page("account")
    button(at, "Sign out everywhere…").click().run()
    assert "This ends 2 sessions" in said(at)
    assert not any(one.startswith("DELETE") for one in hub.requests)


def test_sessions_that_live_say_where_and_which_is_this_one(open_page):
    text = said(open_page("account"))
    assert "**Firefox on Linux**" in text
    assert "**Safari on a Mac**" in text
    assert text.count("last click") == 2


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (SAFARI, "Safari on a Mac"),
        (EDGE, "Edge on Windows"),
        ("curl/8.1", "curl/8.1"),
        ("", "A browser that does not say which"),
        ("x" * 500, "x" * 59 + "…"),
    ],
)
def test_a_browser_is_named_in_words(agent, words):
    assert device(agent) == words


def test_every_power_and_action_has_its_words():
    assert set(POWER_WORDS) == set(MAY) == set(Power)
    assert set(ACTION_WORDS) == set(Action)
