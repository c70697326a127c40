"""What an issuer says, and whom the policy lets in for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from scheduler import policy_file
from scheduler.core.claims import (
    Asserted,
    ClaimRule,
    ClaimRules,
    NotAdmitted,
    admit,
    choices,
    read_claims,
)
from scheduler.core.model import Sector

DEMO = policy_file.load(
    (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text(encoding="utf-8"), 1
)
UNIVERSITY = ClaimRules(
    user=ClaimRule("eppn", values={"alex@state-u.example": "alex", "d@state-u.example": "dana"}),
    sector=ClaimRule(value="academic"),
    institution=ClaimRule("idp", values={"urn:state-u": "state-u", "urn:acme": "acme"}),
    speaks_for=frozenset({"state-u"}),
    teams=ClaimRule("groups"),
    attributes=("affiliation",),
    require={"acr": frozenset({"mfa"})},
)
ALEX = {
    "sub": "1",
    "eppn": "alex@state-u.example",
    "idp": "urn:state-u",
    "acr": "mfa",
    "groups": ["nlp", "nlp", 7, ""],
    "affiliation": "member",
}


def test_claims_become_the_policys_words():
    assert read_claims(UNIVERSITY, ALEX) == Asserted(
        "alex", Sector.ACADEMIC, ("state-u",), ("nlp",), (("affiliation", ("member",)),)
    )
    assert admit(DEMO, UNIVERSITY, read_claims(UNIVERSITY, ALEX)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"acr": "pwd"}, "said pwd for 'acr', and this hub asks for mfa", id="weak"),
        pytest.param({"acr": None}, "said nothing for 'acr'", id="no word on the factor"),
        pytest.param({"eppn": None}, "who you are: the claim 'eppn' is missing", id="no name"),
        pytest.param({"eppn": ["alex@state-u.example", "d@state-u.example"]}, "who you", id="two"),
        pytest.param({"eppn": {"a": 1}}, "who you are", id="a name that is no text"),
        pytest.param({"idp": "urn:other"}, "(known here: urn:acme, urn:state-u)", id="elsewhere"),
    ],
)
def test_a_claim_that_is_missing_or_not_allowed_is_named(change, reason):
    told = read_claims(UNIVERSITY, ALEX | change)
    assert isinstance(told, NotAdmitted)
    assert reason in told.reason
    assert told.next_step


def test_an_unknown_sector_is_not_guessed():
    rules = replace(UNIVERSITY, sector=ClaimRule("sector"))
    assert "'sector' is missing" in read_claims(rules, ALEX | {"sector": "navy"}).reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(Asserted("eve", Sector.ACADEMIC, ("state-u",)), "no user 'eve'", id="unknown"),
        pytest.param(
            Asserted("dana", Sector.ACADEMIC, ("state-u",)),
            "belongs to arl-vision, for which this issuer does not speak",
            id="a person of another organisation",
        ),
        pytest.param(
            Asserted("ops", Sector.ACADEMIC, ("state-u",)),
            "belongs to national, for which",
            id="a role above what the issuer speaks for",
        ),
        pytest.param(
            Asserted("alex", Sector.INDUSTRY, ("state-u",)), "of sector industry", id="sector"
        ),
    ],
)
def test_an_issuer_is_believed_about_its_own_people_only(said, reason):
    assert reason in admit(DEMO, UNIVERSITY, said).reason


def test_somebody_whom_no_account_names_is_told_so():
    accounts = tuple(replace(account, members=frozenset()) for account in DEMO.accounts)
    said = Asserted("alex", Sector.ACADEMIC, ("state-u",))
    told = admit(replace(DEMO, accounts=accounts), UNIVERSITY, said)
    assert told.reason == "No account of this hub names 'alex'."


def test_of_two_institutions_only_those_count_to_which_the_person_belongs_here():
    both = Asserted("alex", Sector.ACADEMIC, ("state-u", "acme"))
    rules = replace(UNIVERSITY, speaks_for=frozenset({"state-u", "acme"}))
    assert choices(DEMO, rules, both) == ("state-u",)
    accounts = tuple(
        replace(account, sector=Sector.ACADEMIC, members=account.members | {"alex"})
        if account.name == "acme-robotics"
        else replace(account, sector=Sector.ACADEMIC)
        for account in DEMO.accounts
    )
    policy = replace(DEMO, accounts=accounts)
    assert choices(policy, rules, both) == ("state-u", "acme")
    assert admit(policy, UNIVERSITY, both) is None
    assert choices(policy, UNIVERSITY, both) == ("state-u",), "of what the issuer speaks for"
    company = replace(both, institutions=("acme",))
    assert "belongs to acme-robotics, for which" in admit(policy, UNIVERSITY, company).reason


def test_a_role_of_the_root_is_in_every_session_so_its_issuer_must_speak_for_it():
    accounts = tuple(
        replace(account, members=account.members | {"ops"})
        if account.name == "state-u-nlp"
        else account
        for account in DEMO.accounts
    )
    policy = replace(DEMO, accounts=accounts)
    said = Asserted("ops", Sector.ACADEMIC, ("state-u",))
    assert "belongs to national, for which" in admit(policy, UNIVERSITY, said).reason
    assert choices(policy, UNIVERSITY, said) == ()
    whole = replace(UNIVERSITY, speaks_for=frozenset({"national"}))
    assert admit(policy, whole, said) is None
    assert choices(policy, whole, said) == ("state-u",)


def test_of_a_linked_identity_the_claims_do_not_say_who_it_is():
    nameless = {name: value for name, value in ALEX.items() if name != "eppn"}
    assert read_claims(UNIVERSITY, nameless, "alex").user == "alex"
    assert read_claims(UNIVERSITY, ALEX | {"eppn": "d@state-u.example"}, "alex").user == "alex"
    assert isinstance(read_claims(UNIVERSITY, nameless | {"acr": "pwd"}, "alex"), NotAdmitted)
