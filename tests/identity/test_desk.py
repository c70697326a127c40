"""The identity file, and where the development issuer refuses to be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.config import HubSettings
from scheduler.errors import Refused
from scheduler.identity.desk import build_desk
from scheduler.identity.sealed import Sealer, sealer
from scheduler.identity.settings import read_identity_file

EXAMPLE = Path(__file__).parents[2] / "infra/identity/example.yaml"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HERE = "http://127.0.0.1:8501"


def settings(tmp_path, **given):
    return HubSettings(data=tmp_path, **given)


def desk(tmp_path, **given):
    return build_desk(settings(tmp_path, **given), SystemClock())


def written(tmp_path, text):
    file = tmp_path / "identity.yaml"
    file.write_text(text)
    return file


def test_the_example_is_a_good_file():
    file = read_identity_file(EXAMPLE)
    assert [issuer.name for issuer in file.issuers] == ["state-u", "acme"]
    assert file.issuers[0].rules().speaks_for == {"state-u"}
    assert file.issuers[1].rules().require == {"acr": {"phr", "mfa"}}
    assert file.card.rules().user.values == {"1234567890": "dana"}
    assert file.sessions.idle == timedelta(minutes=15)


ISSUER = """
issuers:
  - name: su
    title: SU
    issuer: https://sso.example
    client_id: c
    speaks_for: [state-u]
    user: {claim: uid}
    sector: {value: academic}
    institution: {value: state-u}
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(("https://sso", "http://sso"), "must be https://", id="no TLS"),
        pytest.param(("name: su", "name: development"), "the hub's own", id="a reserved name"),
        pytest.param(("{claim: uid}", "{}"), "say either claim or value", id="no rule"),
        pytest.param(("client_id: c", "client_id: ''"), "issuers.0.client_id", id="no client"),
        pytest.param(("speaks_for: [state-u]", "speaks_for: []"), "speaks_for", id="for nobody"),
        pytest.param(("title: SU", "titel: SU"), "issuers.0.titel", id="a misspelt field"),
        pytest.param(("issuers:", "sessions: {idle: 13h}\nissuers:"), "idle times", id="idle"),
        pytest.param(("issuers:", "sessions: {idle: soon}\nissuers:"), "such as 15m", id="a word"),
        pytest.param(("issuers:", "issuers: [\n"), "cannot be read", id="no YAML"),
    ],
)
def test_a_bad_file_is_refused_by_field(tmp_path, change, said):
    with pytest.raises(Refused, match=r"identity\.yaml") as caught:
        read_identity_file(written(tmp_path, ISSUER.replace(*change)))
    assert said in str(caught.value)


def test_two_issuers_of_one_address_are_refused(tmp_path):
    twice = ISSUER + ISSUER.replace("issuers:\n", "").replace("name: su", "name: other")
    with pytest.raises(Refused, match=r"two issuers have the issuer 'https://sso\.example'"):
        read_identity_file(written(tmp_path, twice))


def test_without_anything_nobody_signs_in(tmp_path):
    assert desk(tmp_path).doors == ()


def test_issuers_are_offered_in_the_files_order(tmp_path):
    found = desk(tmp_path, identity=written(tmp_path, ISSUER), public_url="https://cp.example/")
    assert found.doors == (("su", "SU"),)
    assert found.origin == "https://cp.example"


def test_a_secret_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CP_TEST_EMPTY", "")
    for place in ("env: CP_TEST_EMPTY", "file: /nowhere/secret"):
        text = ISSUER.replace("client_id: c", f"client_id: c\n    client_secret: {{{place}}}")
        with pytest.raises(Refused, match=r"issuers\.su\.client_secret: the (env|file)"):
            desk(tmp_path, identity=written(tmp_path, text), public_url="https://cp.example")


@pytest.mark.parametrize("url", ["", "http://cp.example", "https://cp.example/app", "cp.example"])
def test_browsers_must_be_able_to_come_back_to_the_public_address(tmp_path, url):
    with pytest.raises(Refused, match="COMMONPOOL_PUBLIC_URL"):
        desk(tmp_path, identity=written(tmp_path, ISSUER), public_url=url)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("0.0.0.0", HERE, id="listens to everybody"),  # noqa: S104
        pytest.param("::", HERE, id="the same, IPv6"),
        pytest.param("10.1.2.3", HERE, id="listens to a network"),
        pytest.param("127.0.0.1", "https://cp.example", id="behind a public name"),
    ],
)
def test_the_development_issuer_is_never_where_others_can_reach_it(tmp_path, host, url):
    with pytest.raises(Refused, match="lets anybody be anybody"):
        desk(tmp_path, development_issuer=True, host=host, public_url=url)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_the_development_issuer_is_offered(tmp_path, host):
    found = desk(tmp_path, development_issuer=True, host=host, public_url=HERE)
    assert found.doors == (("development", "Development sign-in"),)


def test_beside_real_issuers_the_development_issuer_needs_a_word(tmp_path):
    file = written(tmp_path, ISSUER)
    with pytest.raises(Refused, match="other issuers are configured"):
        desk(tmp_path, identity=file, development_issuer=True, public_url=HERE)
    file = written(tmp_path, "development_beside_others: true\n" + ISSUER)
    found = desk(tmp_path, identity=file, development_issuer=True, public_url=HERE)
    assert [name for name, _ in found.doors] == ["su", "development"]


def test_what_is_sealed_opens_for_its_purpose_in_its_time_and_unchanged():
    one = Sealer(b"k" * 32)
    text = one.seal("a", {"x": [1]}, NOON, timedelta(minutes=1))
    assert one.open("a", text, NOON) == {"x": [1]}
    assert one.open("b", text, NOON) is None
    assert one.open("a", text, NOON + timedelta(minutes=1)) is None
    assert Sealer(b"l" * 32).open("a", text, NOON) is None
    for wrong in ("", ".", "x.y", text[1:], text[:-1], "é.é"):
        assert one.open("a", wrong, NOON) is None


def test_the_key_is_made_once_and_is_for_its_owner_only(tmp_path):
    text = sealer(tmp_path).seal("a", {}, NOON, timedelta(minutes=1))
    assert sealer(tmp_path).open("a", text, NOON) == {}
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "identity.key").write_bytes(b"short")
    with pytest.raises(SystemExit, match="no key of 32 bytes"):
        sealer(tmp_path)
