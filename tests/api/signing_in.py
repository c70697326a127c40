"""A hub with a desk, and browsers that sign in at it; issuers are made up, their tokens signed."""

import re
from dataclasses import dataclass, field, replace
from html import unescape
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from scheduler.api.cookies import COOKIE, csrf_of
from scheduler.identity.desk import CALLBACK, Desk, development_provider
from scheduler.identity.development import DevelopmentIssuer
from scheduler.identity.provider import Client, Provider
from scheduler.identity.settings import DEVELOPMENT, IdentityFile
from tests.api.conftest import HandClock, House

PUBLIC = "http://portal.test"
ISSUER = "https://sso.state-u.example"
STATE_U = {
    "name": "state-u",
    "title": "State University",
    "issuer": ISSUER,
    "client_id": "commonpool",
    "speaks_for": ["state-u"],
    "user": {"claim": "uid"},
    "sector": {"value": "academic"},
    "institution": {"claim": "org", "values": {"SU": "state-u", "ACME": "acme"}},
    "teams": {"claim": "groups"},
}
# Making one takes a third of a second.
KEY = RSAKey.generate_key(2048, {"kid": "k1"})


@dataclass
class FakeIssuer:
    """An OpenID provider without a network. `claims` are of whoever signs in next."""

    claims: dict = field(default_factory=lambda: {"sub": "a1", "uid": "alex", "org": "SU"})
    key: RSAKey = field(default_factory=lambda: KEY)
    signed_with: RSAKey | None = None
    override: dict = field(default_factory=dict)
    userinfo: dict | None = None
    away: bool = False
    clock: HandClock = field(default_factory=HandClock)
    nonce: str = ""
    forms: list = field(default_factory=list)
    fields: dict = field(default_factory=lambda: STATE_U)

    @property
    def name(self):
        return self.fields["name"]

    @property
    def url(self):
        return self.fields["issuer"]

    def transport(self):
        return httpx.MockTransport(self.answer)

    def answer(self, request):
        if self.away:
            raise httpx.ConnectError("down")
        match request.url.path:
            case "/.well-known/openid-configuration":
                found = {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/keys",
                }
                if self.userinfo is not None:
                    found["userinfo_endpoint"] = f"{self.url}/me"
                return httpx.Response(200, json=found)
            case "/keys":
                return httpx.Response(200, json={"keys": [self.key.as_dict(private=False)]})
            case "/me":
                return httpx.Response(200, json=self.userinfo)
            case "/token":
                self.forms.append(dict(parse_qsl(request.content.decode())))
                return httpx.Response(200, json=self.tokens())
        return httpx.Response(404, json={})

    def tokens(self):
        now = int(self.clock.now().timestamp())
        claims = {"iss": self.url, "aud": "commonpool", "iat": now, "exp": now + 300}
        claims |= {"nonce": self.nonce} | self.claims | self.override
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.signed_with or self.key
        signed = jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)
        return {"id_token": signed, "access_token": "opaque", "token_type": "Bearer"}


def with_desk(house: House, *issuers: FakeIssuer, **file) -> Desk:
    """Give a house a desk: the development issuer, and those that are given beside it."""
    more = file.pop("issuer_fields", {})
    file["issuers"] = [issuer.fields | more for issuer in issuers]
    read = IdentityFile.model_validate(file)
    own = DevelopmentIssuer(f"{PUBLIC}/auth/development", PUBLIC + CALLBACK, KEY)
    providers = {}
    for issuer, said in zip(issuers, read.issuers, strict=True):
        issuer.clock = house.clock
        client = Client(
            said.name, said.title, said.issuer, "commonpool", "s3cret", ("openid",),
            PUBLIC + CALLBACK, said.audiences,
        )  # fmt: skip
        providers[said.name] = Provider(client, house.clock, issuer.transport())
    providers[DEVELOPMENT] = development_provider(own, PUBLIC, house.clock)
    desk = Desk(file=read, public_url=PUBLIC, providers=providers, development=own)
    if read.card is not None:
        desk = replace(desk, card_secret="proxy-secret")  # noqa: S106
    object.__setattr__(house.hub, "desk", desk)
    return desk


class Browser:
    """Somebody's browser at the portal's address: cookies, forms, where it stands."""

    def __init__(self, house: House) -> None:
        self.house = house
        transport = httpx.ASGITransport(house.app)
        self.http = httpx.AsyncClient(transport=transport, base_url=PUBLIC)
        self.cookies: dict[str, str] = {}

    async def ask(self, method, path, **options):
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if method != "GET":
            headers["Origin"] = PUBLIC
        headers |= options.pop("headers", {})
        answer = await self.http.request(method, path, headers=headers, **options)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip('"'):
                self.cookies[name] = value.strip('"')
            else:
                self.cookies.pop(name, None)
        return answer

    async def get(self, path, **options):
        return await self.ask("GET", path, **options)

    async def post(self, path, **options):
        return await self.ask("POST", path, **options)

    async def leave(self, issuer=DEVELOPMENT, then="/jobs"):
        """Agree and choose an issuer; return the answer that sends the browser there."""
        page = await self.get("/auth/start", params={"next": then})
        form = fields(page.text) | {"issuer": issuer}
        return await self.post("/auth/start", data=form)

    async def sign_in(self, user, then="/jobs"):
        """Sign in by the development issuer; return the last answer."""
        left = await self.leave(then=then)
        assert left.status_code == 303, left.text
        chosen = await self.post(left.headers["location"], data={"user": user})
        assert chosen.status_code == 303, chosen.text
        return await self.get(chosen.headers["location"])

    async def come_back(self, issuer: FakeIssuer, then="/jobs", **query):
        """Sign in by another issuer, which says what it has to say."""
        left = await self.leave(issuer.name, then)
        assert left.status_code == 303, left.text
        asked = parse_qs(urlsplit(left.headers["location"]).query)
        issuer.nonce = asked["nonce"][0]
        answer = {"code": "c", "state": asked["state"][0]} | query
        return await self.get(CALLBACK, params=answer)

    @property
    def secret(self):
        return self.cookies[COOKIE]

    @property
    def csrf(self):
        return {"X-CSRF-Token": csrf_of(self.secret)}


def fields(html: str) -> dict[str, str]:
    """Return what a form on a page sends without being changed, boxes ticked."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", html):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if "name" in given:
            found[given["name"]] = unescape(given.get("value", ""))
    return found


async def signed_in(house: House, user: str) -> Browser:
    browser = Browser(house)
    answer = await browser.sign_in(user)
    assert answer.status_code == 303, answer.text
    return browser
