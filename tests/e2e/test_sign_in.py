"""Signing in with a real browser, a real hub and the portal; and what stays closed without it."""

import re
import stat
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from portal.gate.gate import COOKIE
from tests.e2e.town import chromium, commonpool, session_of, settled, sign_in, town

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with town(tmp_path_factory.mktemp("town")) as found:
        yield found


@pytest.fixture
def page(tmp_path):
    with chromium() as found:
        yield found
        found.screenshot(path=tmp_path / "last.png")


@pytest.mark.parametrize(
    ("user", "roles"),
    [
        ("dana", "researcher of arl-vision"),
        ("lee", "lead and approver of arl"),
        ("ops", "operator of national"),
        ("audra", "auditor of national"),
    ],
)
def test_people_of_every_role_sign_in_see_who_they_are_and_sign_out(place, page, user, roles):
    sign_in(page, place, user, "/jobs?state=failed")
    assert page.url == f"{place.portal}/jobs?state=failed"
    sidebar = page.locator('[data-testid="stSidebar"]')
    expect(sidebar).to_contain_text(f"Signed in as {user}")
    expect(sidebar).to_contain_text(roles)
    expect(sidebar).to_contain_text("Development sign-in")
    cookie = next(each for each in page.context.cookies() if each["name"] == COOKIE)
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    page.goto(f"{place.portal}/jobs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_sign_in_pages_work_by_keyboard_alone(place, page):
    page.goto(place.portal)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Development sign-in")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Whom do you want to be?")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    settled(page)
    expect(page.locator('[data-testid="stSidebar"]')).to_contain_text("Signed in as dana")


def test_a_session_that_an_operator_ends_stops_at_the_next_click(place, page):
    sign_in(page, place, "iris", "/jobs")
    ops = session_of(place, "ops")
    listed = place.ask("GET", "/v1/sessions?user=iris", ops).json()["sessions"]
    for each in listed:
        place.ask("DELETE", f"/v1/sessions/{each['id']}", ops)
    page.get_by_role("link", name="Accounts").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    # The gate may still let the browser in for some seconds; the door does not.
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_role("button", name="Development sign-in").click()
    page.get_by_role("button", name=re.compile("^iris")).click()
    settled(page)
    assert page.url == f"{place.portal}/accounts"


def test_a_command_line_is_signed_in_by_the_browser_beside_it(place, page, tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path), "COMMONPOOL_HUB": place.portal}
    with commonpool("login", "--data", str(tmp_path), **home) as login:
        first = login.stdout.readline()
        address = re.search(r"http\S+user_code=(\S+)", first)
        assert address, first
        page.goto(address[0])
        page.get_by_role("button", name="Development sign-in").click()
        page.get_by_role("button", name=re.compile("^dana")).click()
        expect(page.get_by_text(address[1], exact=True)).to_be_visible()
        page.get_by_role("button", name=re.compile("^Yes")).click()
        expect(page.get_by_role("heading", name="Done")).to_be_visible()
        rest = login.communicate(timeout=60)[0]
        assert login.returncode == 0, rest
    assert "as dana for jobs" in rest
    file = Path(tmp_path) / "commonpool/credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert said("whoami", **home).startswith(
        f"dana at {place.portal}, by a personal token for jobs"
    )
    assert "no jobs yet" in said("jobs", **home)
    assert "this needs manage" in said("diag", **home, status=1)
    made = said(
        "token", "create", "--mine", "--name", "t", "--power", "read", "--days", "1", **home
    )
    assert "cp_pat_" in made
    assert "commonpool login" in said("token", "list", "--mine", **home)
    assert "signed out" in said("logout", **home)
    assert "Sign in with `commonpool login`" in said("whoami", **home, status=2)


def said(*words, status=0, **environment):
    data = ("--data", environment["XDG_CONFIG_HOME"])
    with commonpool(*words, *data, **environment) as done:
        out = done.communicate(timeout=60)[0]
    assert done.returncode == status, out
    return re.sub(r"\s+", " ", out.replace("│", " "))


def stream(place, session=None, existing="", **more):
    """Open Streamlit's socket as somebody, with a Streamlit session id that they claim."""
    headers = {} if session is None else {"Cookie": f"{COOKIE}={session}"}
    return connect(
        place.portal.replace("http", "ws") + "/_stcore/stream",
        subprotocols=["streamlit", "-", existing or "-"],
        additional_headers={**headers, **more.pop("headers", {})},
        origin=more.pop("origin", place.portal),
        max_size=2**26,
    )


def drawn(socket):
    """Run the page; return its Streamlit session id, and all texts that were sent."""
    socket.send(BackMsg(rerun_script=BackMsg().rerun_script).SerializeToString())
    name, texts = "", []
    while True:
        message = ForwardMsg.FromString(socket.recv(timeout=60))
        if message.HasField("new_session"):
            name = message.new_session.initialize.session_id
        texts.append(str(message))
        if message.HasField("script_finished"):
            return name, "\n".join(texts)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nobody"),
        pytest.param({"X-CP-Sub": "ops", "X-CP-Session": "x"}, id="forged headers"),
        pytest.param({"Cookie": f"{COOKIE}=cp_session_{'A' * 43}"}, id="a made-up session"),
    ],
)
def test_an_anonymous_socket_does_not_open(place, headers):
    with pytest.raises(InvalidStatus) as refused:
        stream(place, headers=headers)
    assert refused.value.response.status_code == 403


def test_a_socket_from_a_foreign_page_does_not_open(place):
    dana = session_of(place, "dana")
    with pytest.raises((InvalidStatus, ConnectionClosed)):
        stream(place, dana, origin="https://evil.example").recv(timeout=10)


def test_forged_headers_beside_a_session_change_nothing(place):
    forged = {"X-CP-Sub": "ops", "x-cp-session": "x"}
    with stream(place, session_of(place, "dana"), headers=forged) as socket:
        assert "Signed in as **dana**" in drawn(socket)[1]


def test_another_persons_streamlit_session_is_not_given_away(place):
    """Session ids are bearer secrets of Streamlit's: whoever knew one had the other's state."""
    dana, iris = session_of(place, "dana"), session_of(place, "iris")
    with stream(place, dana) as mine:
        name, text = drawn(mine)
        assert name
        assert "Signed in as **dana**" in text
    with stream(place, dana, existing=name) as again:
        assert drawn(again)[0] == name
    with stream(place, iris, existing=name) as stolen:
        other, text = drawn(stolen)
        assert other != name
        assert "Signed in as **iris**" in text
        assert "dana" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/media/0000.csv",
        "/_stcore/metrics",
        "/_stcore/agent/schema",
        "/_stcore/upload_file/a/b",
        "/component/x/index.html",
        "/v1/jobs",
        "/v1/session",
        "/api/jobs/",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-CP-Sub": "ops"}], ids=["nobody", "forged"])
def test_files_metrics_and_the_api_are_closed_to_the_anonymous(place, path, headers):
    answer = httpx.get(place.portal + path, headers=headers, trust_env=False)
    assert answer.status_code == 401, answer.text


def test_the_hubs_own_pages_and_api_are_under_the_portals_address(place):
    dana = session_of(place, "dana")
    cookie = {"Cookie": f"{COOKIE}={dana}"}
    me = httpx.get(f"{place.portal}/v1/me", headers=cookie, trust_env=False)
    assert me.json()["subject"] == "dana"
    unsafe = httpx.post(
        f"{place.portal}/v1/jobs", headers=cookie, json={"entrypoint": "true"}, trust_env=False
    )
    assert unsafe.status_code == 403
