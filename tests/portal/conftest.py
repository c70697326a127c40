"""A fake hub over real HTTP, people's tokens in a folder, and the portal's pages on both."""

import gc
import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.portal.busy_day import PEOPLE
from tests.portal.fake_hub import FakeHub, serving

APP = Path(__file__).parents[2] / "portal" / "app.py"
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="package", autouse=True)
def imports_out_of_the_collectors_sight():
    """As in portal/gate/asgi.py: Streamlit collects fully after every run of a page."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go: the folder that COMMONPOOL_SCREENSHOTS names, to be looked at later."""
    folder = Path(os.environ.get("COMMONPOOL_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def hub():
    return FakeHub()


@pytest.fixture
def hub_url(hub):
    with serving(hub.app) as url:
        yield url


@pytest.fixture
def tokens(tmp_path):
    """A folder as `commonpool up` leaves it: people's tokens among others."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    for name in PEOPLE:
        (folder / f"{name}.token").write_text(f"cp_user_{name}\n")
    (folder / "admin.token").write_text("cp_admin_x\n")
    (folder / "state-u-site.token").write_text("cp_site_x\n")
    return folder


@pytest.fixture
def open_page(tokens, hub_url, monkeypatch):
    """Return a function that opens a page as somebody: `open_page("jobs", "dana")`.

    Without a browser there is no cookie: the portal is one person's, by their token.
    """

    def open_it(view="capacity", person="dana", url=hub_url, **query):
        token = (tokens / f"{person}.token").read_text().strip()
        monkeypatch.setenv("COMMONPOOL_PORTAL_TOKEN", token)
        monkeypatch.setenv("COMMONPOOL_HUB_URL", url)
        at = AppTest.from_file(APP, default_timeout=20)
        for name, value in query.items():
            at.query_params[name] = value
        if view != "home":  # where a visit begins
            at.switch_page(f"views/{view}.py")
        return at.run()

    return open_it
