"""The nginx examples as they are shipped: one origin with TLS, and the door for cards."""

import datetime as dt
import re
import shutil
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from websockets.sync.client import connect

from portal.gate.gate import COOKIE
from tests.api.signing_in import fields
from tests.e2e.hub_process import free_port
from tests.e2e.town import process, town
from tests.waiting import until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
EXAMPLES = Path(__file__).parents[2] / "infra/nginx"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed (make nginx)"),
]
IDENTITY = """\
card:
  url: https://localhost:{card}/auth/cac
  proxy_secret: {{env: CARD_SECRET}}
  people: {{"1234567890": dana}}
  subjects: ["OU=ARL,O=U.S. Government,C=US"]
  speaks_for: [arl]
  sector: {{value: dod}}
  institution: {{value: arl}}
"""
WHOLE = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  include {folder}/commonpool.conf; include {folder}/card.conf;
}}
"""


@dataclass
class Authority:
    """Signs certificates; `issue` writes one and its key."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def subject(self):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def certificate(self, subject, key, *, authority=False):
        now = dt.datetime.now(dt.UTC)
        alternative = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(alternative, critical=False)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def write(self, file):
        own = self.certificate(self.subject, self.key, authority=True)
        file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(self, folder, stem, *parts):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])
        made = self.certificate(subject, key).public_bytes(serialization.Encoding.PEM)
        (folder / f"{stem}.pem").write_bytes(made)
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / f"{stem}.key").write_bytes(plain)
        return str(folder / f"{stem}.pem"), str(folder / f"{stem}.key")


def card(authority, folder, stem, name, unit="ARL"):
    return authority.issue(
        folder,
        stem,
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.ORGANIZATION_NAME, "U.S. Government"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, name),
    )


@dataclass
class Site:
    origin: str
    door: str
    folder: Path
    authority: Authority
    trust: ssl.SSLContext

    def browser(self, certificate=None):
        trust = ssl.create_default_context(cafile=str(self.folder / "authorities.pem"))
        if certificate is not None:
            trust.load_cert_chain(*certificate)
        return httpx.Client(verify=trust, trust_env=False)


def configured(folder, found, ports):
    """Write the shipped examples with this test's ports and certificates in their place."""
    front, door = ports
    for name, port in (("commonpool", front), ("card", door)):
        text = (EXAMPLES / f"{name}.conf").read_text()
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
        text = re.sub(r"#.*", "", text)
        text = re.sub(r"/etc/commonpool/tls/dod-[\w-]+\.pem", f"{folder}/authorities.pem", text)
        text = re.sub(r"/etc/commonpool/tls/\w+\.(pem|key)", rf"{folder}/server.\1", text)
        text = text.replace("/etc/commonpool/card-proxy.conf", f"{folder}/card-proxy.conf")
        text = text.replace("http://127.0.0.1:8265", found.hub)
        text = text.replace("http://127.0.0.1:8501", found.portal)
        assert "/etc/" not in text
        (folder / f"{name}.conf").write_text(text)
    (folder / "card-proxy.conf").write_text('proxy_set_header X-CP-Proxy-Secret "s3cret";\n')
    (folder / "nginx.conf").write_text(WHOLE.format(folder=folder))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, ports = tmp_path_factory.mktemp("nginx"), (free_port(), free_port())
    authority = Authority("Test authority")
    authority.write(folder / "authorities.pem")
    authority.issue(folder, "server", (NameOID.COMMON_NAME, "localhost"))
    (folder / "identity.yaml").write_text(IDENTITY.format(card=ports[1]))
    origin, door = (f"https://localhost:{port}" for port in ports)
    settings = {
        "COMMONPOOL_IDENTITY": str(folder / "identity.yaml"),
        "COMMONPOOL_PUBLIC_URL": origin,
        "CARD_SECRET": "s3cret",
    }
    with town(folder, **settings) as found:
        configured(folder, found, ports)
        with process(folder / "nginx.out", NGINX, "-c", str(folder / "nginx.conf")):
            trust = ssl.create_default_context(cafile=str(folder / "authorities.pem"))
            made = Site(origin, door, folder, authority, trust)
            until(lambda: reachable(made), 30)
            yield made


def reachable(site):
    try:
        with site.browser() as http:
            return http.get(f"{site.origin}/auth/start").is_success
    except httpx.TransportError:
        return False


@contextmanager
def through_the_door(site, certificate, **headers):
    """Leave for the card door; give its answer, and the browser that waits for it."""
    with site.browser() as http:
        yield _left(site, http, certificate, headers), http


def _left(site, http, certificate, headers):
    page = http.get(f"{site.origin}/auth/start?next=/jobs")
    form = fields(page.text) | {"issuer": "cac"}
    left = http.post(f"{site.origin}/auth/start", data=form, headers={"Origin": site.origin})
    assert left.status_code == 303, left.text
    with site.browser(certificate) as card_reader:
        return card_reader.get(left.headers["location"], headers=headers)


def test_a_card_opens_the_portal_through_both_proxies(site):
    certificate = card(site.authority, site.folder, "dana", "LEE.DANA.M.1234567890")
    with through_the_door(site, certificate) as (back, http):
        assert back.status_code == 303, back.text
        done = http.get(back.headers["location"])
        assert done.headers["location"] == "/jobs"
        assert http.get(f"{site.origin}/v1/session").json()["user"] == "dana"
        page = http.get(f"{site.origin}/jobs")
        assert "streamlit" in page.text.lower()
        assert page.headers["strict-transport-security"]
        cookie = f"{COOKIE}={http.cookies[COOKIE]}"
    address = site.origin.replace("https", "wss") + "/_stcore/stream"
    with connect(
        address,
        ssl=site.trust,
        open_timeout=60,
        subprotocols=["streamlit"],
        additional_headers={"Cookie": cookie},
        origin=site.origin,
    ) as socket:
        assert socket.subprotocol == "streamlit"


def test_without_a_card_the_door_stays_shut(site):
    with through_the_door(site, None) as (back, _):
        pass
    assert back.status_code == 403
    assert "could not verify your certificate (NONE)" in back.text


def test_a_certificate_of_another_authority_does_not_reach_the_hub(site):
    other = card(Authority("Mallory's"), site.folder, "mallory", "X.1234567890")
    with through_the_door(site, other) as (back, _):
        pass
    assert back.status_code in {400, 403}
    assert "ticket=" not in back.headers.get("location", "")


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("X.1234567890", "EVIL", "are not taken here"),
        ("DANA", "ARL", "names no EDIPI"),
    ],
)
def test_another_units_card_and_one_without_a_number_are_refused(site, name, unit, said):
    certificate = card(site.authority, site.folder, "other", name, unit)
    with through_the_door(site, certificate) as (back, _):
        pass
    assert back.status_code == 403
    assert said in back.text


FORGED = {
    "X-CP-Proxy-Secret": "s3cret",
    "X-CP-Client-Verify": "SUCCESS",
    "X-CP-EDIPI": "1234567890",
    "X-CP-Client-DN": "CN=X.1234567890,OU=ARL,O=U.S. Government,C=US",
}


def test_headers_that_a_client_forges_are_overwritten_at_the_door(site):
    with through_the_door(site, None, **FORGED) as (back, _):
        pass
    assert back.status_code == 403


def test_the_front_passes_no_proxys_words_on_even_with_the_right_secret(site):
    with site.browser() as http:
        answer = http.get(f"{site.origin}/auth/cac?state={'f' * 64}", headers=FORGED)
        assert answer.status_code == 403
        assert "card proxy only" in answer.text
        assert http.get(f"{site.origin}/metrics").status_code == 404
