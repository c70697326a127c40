"""Stepping up by OpenID providers that are not ours: they keep people signed in, and say when.

npm's oidc-provider has sessions of its own, so `max_age` and `acr_values` mean something to it;
nanoidp asks for a second factor (TOTP) and says so in `amr`.
"""

import base64
import hmac
import re
import struct
import time

import pytest
from playwright.sync_api import expect

from portal.gate.gate import COOKIE
from tests.e2e.hub_process import free_port
from tests.e2e.real_provider import SECRET, nanoidp, oidc_provider
from tests.e2e.town import chromium, for_days, settled, town

pytestmark = pytest.mark.browser
TWO = "urn:example:two-factors"
OTP = "JBSWY3DPEHPK3PXP"
IDENTITY = """\
step_up: {{within: 10m, assurance: ["{assurance}"]}}
issuers:
  - name: state-u
    title: State University
    issuer: {url}
    client_id: commonpool
    client_secret: {{env: STATE_U_SECRET}}
    scopes: [openid, profile]
    acr_values: {assurance}
    speaks_for: [state-u]
    user: {{claim: sub}}
    sector: {{value: academic}}
    institution: {{claim: tenant, values: {{state-u: state-u}}}}
"""


@pytest.fixture
def page(tmp_path):
    with chromium() as found:
        yield found
        found.screenshot(path=tmp_path / "last.png")


def settings(folder, url, assurance):
    file = folder / "identity.yaml"
    file.write_text(IDENTITY.format(url=url, assurance=assurance))
    return {"COMMONPOOL_IDENTITY": str(file), "STATE_U_SECRET": SECRET}


def asked(place):
    """Have alex ask for a budget; return the request's id."""
    change = {"kind": "budget", "id": "next", "account": "state-u", "h100e_hours": 10}
    return place.asks_for("alex", change | for_days(30), "a start")["id"]


def state(place, request):
    return place.ask("GET", f"/v1/requests/{request}", place.token("alex")).json()["state"]


def approve(page):
    why = page.get_by_label("Reason (whoever asked reads it")
    why.fill("as planned")
    why.blur()
    page.get_by_role("button", name="Approve", exact=True).click()


def at_the_provider(page, *, ago=0, two=False):
    """Sign in as pat at oidc-provider's page, which says why it is shown; return that."""
    expect(page.get_by_role("heading", name="Provider")).to_be_visible()
    why = page.locator("#asked").inner_text()
    page.get_by_label("User").fill("pat")
    page.get_by_label("Signed in so many seconds ago").fill(str(ago))
    page.get_by_label("Two factors").set_checked(two)
    page.get_by_role("button", name="Sign in").click()
    return why


def come_to(page, place, request):
    """Open the request's page, and choose the university where the hub asks to sign in."""
    page.goto(f"{place.portal}/request?id={request}")
    page.get_by_role("button", name="State University").click()


def back_at(page, request):
    page.wait_for_url(re.compile(f"/request\\?id={request}"))
    settled(page)


def sign_in_again(page):
    """Follow the link of a decision that asks for another sign-in."""
    expect(page.get_by_text("Sign in again to decide")).to_be_visible()
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_text("Sign in once more")).to_be_visible()
    page.get_by_role("button", name="State University").click()


@pytest.fixture
def keeping(tmp_path):
    """A town whose provider keeps people signed in."""
    port = free_port()
    callback = f"http://127.0.0.1:{port}/auth/callback"
    with (
        oidc_provider(tmp_path, callback, {"pat": {"tenant": "state-u"}}) as url,
        town(tmp_path, portal_port=port, **settings(tmp_path, url, TWO)) as found,
    ):
        yield found


def test_a_provider_that_knows_somebody_still_asks_anew_for_a_decision(keeping, page):
    request = asked(keeping)
    come_to(page, keeping, request)
    assert "no_session" in at_the_provider(page, ago=3600, two=True)
    back_at(page, request)
    approve(page)
    expect(page.get_by_text("You signed in 60 minutes ago")).to_be_visible()

    # Signed out here, and in again: the provider lets its own session through, an hour old.
    page.context.clear_cookies(name=COOKIE)
    come_to(page, keeping, request)
    back_at(page, request)
    approve(page)
    expect(page.get_by_text("You signed in 60 minutes ago")).to_be_visible()

    # Asked with max_age=0 and acr_values it does not.
    sign_in_again(page)
    why = at_the_provider(page, two=True)
    assert why == f"because login_prompt; acr_values {TWO}"
    back_at(page, request)
    approve(page)
    expect(page.get_by_text("applied").first).to_be_visible()
    assert state(keeping, request) == "applied"


def test_who_signs_in_anew_as_weak_as_before_is_refused_again(keeping, page):
    request = asked(keeping)
    come_to(page, keeping, request)
    at_the_provider(page)
    back_at(page, request)
    approve(page)
    sign_in_again(page)
    assert "login_prompt" in at_the_provider(page)
    back_at(page, request)
    approve(page)
    expect(page.get_by_text("Your sign-in says nothing of how you were")).to_be_visible()
    assert state(keeping, request) == "open"


def totp(now):
    """Return the code of an authenticator (RFC 6238), of 30 seconds and six digits."""
    digest = hmac.digest(base64.b32decode(OTP), struct.pack(">Q", int(now) // 30), "sha1")
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


@pytest.fixture(params=[OTP, None], ids=["two factors", "a password"])
def asking(request, tmp_path):
    """A town whose provider asks those for a second factor who have one; pat may be one."""
    pat = {"password": "pw", "tenant": "state-u", "roles": ["USER"]}
    pat |= {"totp_secret": request.param} if request.param else {}
    with (
        nanoidp(tmp_path / "idp", {"pat": pat}) as url,
        town(tmp_path, **settings(tmp_path, url, "otp")) as found,
    ):
        yield found, request.param is not None


def test_nanoidps_word_on_the_second_factor_is_what_counts(asking, page):
    place, second = asking
    request = asked(place)
    come_to(page, place, request)
    page.get_by_label("Username").fill("pat")
    page.get_by_label("Password").fill("pw")
    page.locator('form button[type="submit"]').click()
    if second:
        page.get_by_label("Authenticator code").fill(totp(time.time()))
        page.get_by_role("button", name="Verify").click()
    back_at(page, request)
    approve(page)
    told = "applied" if second else "Your sign-in says pwd of how you were recognised"
    expect(page.get_by_text(told).first).to_be_visible()
    assert state(place, request) == ("applied" if second else "open")
