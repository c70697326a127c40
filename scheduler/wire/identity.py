"""Who is signed in, with what, and what they may do: sessions, personal tokens, devices."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from scheduler.core.model import Sector
from scheduler.core.roles import Action, Role
from scheduler.wire.nodes import Message

MAX_TOKEN_DAYS = 90


class Kind(StrEnum):
    """With what a caller came."""

    SESSION = "session"
    PERSONAL = "personal"
    TOKEN = "token"  # noqa: S105  # a word, not one


class Power(StrEnum):
    """What a personal token may do of what its owner may: each includes the ones before it."""

    READ = "read"
    JOBS = "jobs"  # submit and end jobs, upload packages
    MANAGE = "manage"  # requests, and all that the owner's roles allow


class RolesOn(Message):
    """What somebody is on an account, given there or above it."""

    account: str
    roles: tuple[Role, ...]


class Session(Message):
    """Who the caller is, and until when. `csrf` goes into `X-CSRF-Token` with a cookie."""

    user: str
    kind: Kind
    id: str | None = Field(default=None, description="Of the session or token; not a secret")
    issuer: str | None = Field(default=None, description="By whom the person was signed in")
    sector: Sector | None = None
    institution: str | None = Field(default=None, description="For which the session is")
    email: str = Field(default="", description="The policy's, where notices are sent to")
    assurance: str | None = None
    roles: tuple[RolesOn, ...] = ()
    actions: tuple[Action, ...] = Field(default=(), description="Allowed on the whole hub")
    powers: tuple[Power, ...] | None = Field(default=None, description="Of a personal token")
    signed_in_at: AwareDatetime | None = None
    idle_until: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None
    csrf: str | None = None


class SessionView(Message):
    """One sign-in of somebody, as they or an operator see it."""

    id: str
    user: str
    issuer: str
    institution: str
    created_at: AwareDatetime
    seen_at: AwareDatetime
    ends_at: AwareDatetime
    user_agent: str
    current: bool = Field(description="True for the session that asks")
    alive: bool


class SessionList(Message):
    sessions: tuple[SessionView, ...]


class IdentityView(Message):
    """Who somebody is at one issuer; its subject is nobody's business but the hub's."""

    issuer: str = Field(description="Its name in the identity file")
    title: str
    user: str
    sector: Sector
    institution: str = Field(description="As the issuer said at the last sign-in")
    first_seen_at: AwareDatetime
    verified_at: AwareDatetime = Field(description="The last sign-in by it")
    linked_at: AwareDatetime | None = Field(
        default=None, description="When its person linked it; null where its claims named the user"
    )
    current: bool = Field(description="True for the one of the session that asks")
    usable: bool = Field(description="False where the hub takes its issuer no more")


class IdentityList(Message):
    identities: tuple[IdentityView, ...]
    may_link: tuple[str, ...] = Field(
        default=(), description="Titles of issuers of which the caller may link one, at /auth/link"
    )


class PersonalTokenRequest(Message):
    """Ask for a token of your own."""

    name: str = Field(min_length=1, max_length=100, description="What it is for")
    powers: tuple[Power, ...] = Field(default=(Power.JOBS,), min_length=1, max_length=3)
    expires_in_days: int = Field(default=30, ge=1, le=MAX_TOKEN_DAYS)


class PersonalTokenIssued(Message):
    """Shown once; the hub keeps only its SHA-256."""

    id: str
    token: str
    user: str
    name: str
    powers: tuple[Power, ...]
    expires_at: AwareDatetime


class PersonalTokenView(Message):
    id: str
    user: str
    name: str
    powers: tuple[Power, ...]
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_used_at: AwareDatetime | None
    revoked: bool
    institution: str | None = Field(default=None, description="For which it acts; null: any")


class PersonalTokenList(Message):
    tokens: tuple[PersonalTokenView, ...]


class DeviceAsked(Message):
    """The answer of RFC 8628 §3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceToken(Message):
    """The answer of RFC 8628 §3.5 once somebody has agreed."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  # RFC 6750's word
    expires_in: int
    scope: str
    user: str
