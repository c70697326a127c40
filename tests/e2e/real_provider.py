"""OpenID providers that are not ours, as processes on loopback."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.hub_process import free_port
from tests.e2e.town import answers, process
from tests.waiting import until

SECRET = "s3cret"  # noqa: S105  # of a test
ROOT = Path(__file__).parents[2]
NODE_MODULES = Path(os.environ.get("NODE_MODULES", ROOT / "node_modules"))
INSTALL = "npm install --no-save --no-package-lock oidc-provider@9"

_NANOIDP = """\
config_version: 1
server: {{host: 127.0.0.1, port: {port}}}
login: {{totp: true}}
jwt: {{keys_dir: "{folder}/keys"}}
oauth:
  issuer: "http://127.0.0.1:{port}"
  audience: commonpool
  clients: [{{client_id: commonpool, client_secret: s3cret, description: a hub}}]
"""


@contextmanager
def nanoidp(folder: Path, people: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Start nanoidp with people, by name; give its address."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "settings.yaml").write_text(_NANOIDP.format(port=port, folder=folder))
    (folder / "users.yaml").write_text(json.dumps({"config_version": 1, "users": people}))
    command = (sys.executable, "-m", "nanoidp", "--config", str(folder))
    with process(folder / "nanoidp.log", *command):
        yield _ready(f"http://127.0.0.1:{port}")


@contextmanager
def oidc_provider(
    folder: Path, callback: str, people: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    """Start npm's oidc-provider, which keeps people signed in; give its address.

    Skips where node or the package is not installed.
    """
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "oidc-provider").is_dir():
        pytest.skip(f"needs node and oidc-provider: {INSTALL}")
    port = free_port()
    client = {
        "client_id": "commonpool",
        "client_secret": SECRET,
        "redirect_uris": [callback],
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
    }
    script = Path(__file__).with_name("oidc_provider.mjs")
    words = (str(NODE_MODULES), str(port), json.dumps(client), json.dumps(people))
    with process(folder / "oidc-provider.log", node, str(script), *words):
        yield _ready(f"http://127.0.0.1:{port}")


def _ready(url: str) -> str:
    until(lambda: answers(f"{url}/.well-known/openid-configuration"), 60)
    return url
