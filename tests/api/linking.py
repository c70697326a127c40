"""A hub that two issuers sign people in at, and how somebody links what they are at both."""

from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.db.policies import save_policy
from scheduler.identity.desk import CALLBACK
from tests.api.conftest import POLICY
from tests.api.signing_in import Browser, FakeIssuer, fields, with_desk

GOV = {
    "name": "gov",
    "title": "Government sign-in",
    "issuer": "https://login.gov.example",
    "client_id": "commonpool",
    "speaks_for": ["arl"],
    "user": {"claim": "email"},
    "sector": {"value": "dod"},
    "institution": {"value": "arl"},
}
# alex works for the university, and is a member of a project of the laboratory's too.
BOTH = POLICY.replace("members: [dana]", "members: [dana, alex]")
LINKING = {"issuers": ["state-u", "gov"], "within": "10m"}


@pytest.fixture
def uni():
    return FakeIssuer()


@pytest.fixture
def gov():
    return FakeIssuer(claims={"sub": "g-77", "email": "alex@mail.example"}, fields=GOV)


async def linking(house, *issuers):
    """Have a hub sign people in at issuers, and link them."""
    with_desk(house, *issuers, linking=LINKING)
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, BOTH, house.clock.now(), "admin")
    return house


@pytest.fixture
async def town(small, uni, gov):
    return await linking(small, uni, gov)


def just_now(house, *issuers):
    """Have issuers say that whoever comes signed in there at this moment."""
    for issuer in issuers:
        issuer.override["auth_time"] = int(house.clock.now().timestamp())


async def signed_in(house, issuer):
    just_now(house, issuer)
    browser = Browser(house)
    answer = await browser.come_back(issuer)
    assert answer.status_code == 303, answer.text
    return browser


async def leave_to_link(browser, issuer, **form):
    """Ask to link; return the answer that sends the browser to the issuer."""
    page = await browser.get("/auth/link")
    assert page.status_code == 200, page.headers.get("location", page.text)
    return await browser.post("/auth/link", data=fields(page.text) | {"issuer": issuer.name} | form)


async def asked_of(left, issuer):
    """Return what the issuer is asked; it answers with this nonce next."""
    assert left.status_code == 303, left.text
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    issuer.nonce = asked["nonce"][0]
    return {name: values[0] for name, values in asked.items()}


async def link(house, browser, issuer):
    """Link whoever signs in at an issuer next; return the last answer."""
    asked = await asked_of(await leave_to_link(browser, issuer), issuer)
    just_now(house, issuer)
    return await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})


async def known(browser):
    found = (await browser.get("/v1/identities")).json()
    return [one["issuer"] for one in found["identities"]]


async def audited(house, action, user="alex"):
    path = f"/v1/audit?object=user:{user}&action={action}"
    return (await house.call("audra", "GET", path)).json()["rows"]
