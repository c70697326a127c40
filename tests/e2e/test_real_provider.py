"""Signing in by an OpenID provider that is not ours: nanoidp, a process of its own."""

import sys

import pytest
from playwright.sync_api import expect

from tests.e2e.hub_process import free_port
from tests.e2e.town import answers, chromium, process, settled, town
from tests.waiting import until

pytestmark = pytest.mark.browser

SETTINGS = """\
config_version: 1
server: {{host: 127.0.0.1, port: {port}}}
jwt: {{keys_dir: "{folder}/keys"}}
oauth:
  issuer: "http://127.0.0.1:{port}"
  audience: commonpool
  clients: [{{client_id: commonpool, client_secret: s3cret, description: a hub}}]
"""
USERS = """\
config_version: 1
users:
  alex: {password: pw, email: alex@state-u.example, tenant: state-u, groups: [nlp], roles: [USER]}
  dana: {password: pw, email: dana@arl.example, tenant: arl, roles: [USER]}
  mallory: {password: pw, email: m@state-u.example, tenant: state-u, roles: [USER]}
"""
IDENTITY = """\
banner: You consent to be monitored.
issuers:
  - name: state-u
    title: State University
    issuer: http://127.0.0.1:{port}
    client_id: commonpool
    client_secret: {{env: STATE_U_SECRET}}
    scopes: [openid, profile, email]
    speaks_for: [state-u]
    user: {{claim: {claim}}}
    sector: {{value: academic}}
    institution: {{claim: tenant, values: {{state-u: state-u, arl: arl}}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("provider"), free_port()
    (folder / "settings.yaml").write_text(SETTINGS.format(port=port, folder=folder))
    (folder / "users.yaml").write_text(USERS)
    (folder / "identity.yaml").write_text(IDENTITY.format(port=port, claim="sub"))
    command = (sys.executable, "-m", "nanoidp", "--config", str(folder))
    with process(folder / "nanoidp.log", *command):
        until(lambda: answers(f"http://127.0.0.1:{port}/.well-known/openid-configuration"), 60)
        settings = {
            "COMMONPOOL_IDENTITY": str(folder / "identity.yaml"),
            "STATE_U_SECRET": "s3cret",
        }
        with town(folder, **settings) as found:
            yield found


@pytest.fixture
def page(tmp_path):
    with chromium() as found:
        yield found
        found.screenshot(path=tmp_path / "last.png")


def at_the_provider(page, place, user, password="pw"):  # noqa: S107  # of a test's provider
    """Agree to the notice, go to the university's page and sign in there."""
    page.goto(f"{place.portal}/jobs")
    page.get_by_label("I have read this notice").check()
    page.get_by_role("button", name="State University").click()
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.locator('form button[type="submit"]').click()


def test_a_member_of_the_university_signs_in_there(place, page):
    at_the_provider(page, place, "alex")
    settled(page)
    assert page.url == f"{place.portal}/jobs"
    sidebar = page.locator('[data-testid="stSidebar"]')
    expect(sidebar).to_contain_text("Signed in as alex")
    expect(sidebar).not_to_contain_text("Development")


def test_the_notice_comes_first(place, page):
    page.goto(place.portal)
    expect(page.get_by_text("You consent to be monitored.")).to_be_visible()
    page.get_by_role("button", name="State University").click()  # the browser asks for the tick
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    ("user", "told"),
    [
        pytest.param("mallory", "knows no user 'mallory'", id="a stranger"),
        pytest.param("dana", "for which this issuer does not speak", id="of another organisation"),
    ],
)
def test_the_university_signs_in_nobody_else(place, page, user, told):
    at_the_provider(page, place, user)
    expect(page.get_by_role("heading", name="You cannot sign in here")).to_be_visible()
    expect(page.locator("main")).to_contain_text(told)
    page.goto(f"{place.portal}/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
